package testserver

import (
	"crypto/rand"
	_ "embed" // for the reaper
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// homeDir holds the folders of all servers of this process.
type homeDir struct {
	path string
	// leash is the reaper's input, never written to: the kernel closes it with this process.
	leash *os.File
}

//go:embed reaper.sh
var reaper string

// home opens the folder of this process and sets a reaper on it.
var home = sync.OnceValues(func() (*homeDir, error) {
	if !hasSignals {
		return nil, errNoSignals
	}
	path := filepath.Join(os.TempDir(), "upbeat-testserver-"+rand.Text())
	input, leash, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("testserver: pipe for the reaper: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", reaper, "testserver-reaper", path)
	cmd.Stdin = input
	ownGroup(cmd, nil)
	err = cmd.Start()
	_ = input.Close()
	if err != nil {
		return nil, fmt.Errorf("testserver: start the reaper: %w", err)
	}
	// The reaper comes first, so that it finds whatever is made after this line. Servers under another account pass through.
	if err := os.Mkdir(path, 0o711); err != nil {
		return nil, fmt.Errorf("testserver: %w", err)
	}
	return &homeDir{path: path, leash: leash}, nil
})

// newDir makes a folder for one server. Its name starts with kind, by which the reaper knows how to end it.
func newDir(kind string, owner *account) (string, error) {
	h, err := home()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(h.path, kind+"-")
	if err != nil {
		return "", fmt.Errorf("testserver: %w", err)
	}
	if owner != nil {
		if err := os.Chown(dir, owner.uid, owner.gid); err != nil {
			return "", fmt.Errorf("testserver: %w", err)
		}
	}
	return dir, nil
}
