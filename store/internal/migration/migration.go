// Package migration reads numbered SQL files and tells which of them are still to be applied.
package migration

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Migration is one file, named like 0001_what_it_does.sql.
type Migration struct {
	Version  int
	Name     string
	SQL      string
	Checksum string // of SQL
}

// Load reads all .sql files at the root of fsys, in the order of their versions.
func Load(fsys fs.FS) ([]Migration, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	all := make([]Migration, 0, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version < 1 || i > 0 && version <= all[i-1].Version {
			return nil, fmt.Errorf("migration %s: want a number of its own, as in 0001_what_it_does.sql", name)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		all = append(all, Migration{Version: version, Name: name, SQL: string(text), Checksum: hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// ErrChanged means that a file is no longer what was applied.
var ErrChanged = errors.New("an applied migration was changed")

// Check returns ErrChanged, with what is wrong, unless m is the file that was applied and recorded with that checksum.
func (m Migration) Check(applied string) error {
	if applied == m.Checksum {
		return nil
	}
	return fmt.Errorf("%w: %s was applied with checksum %.12s but is now %.12s", ErrChanged, m.Name, applied, m.Checksum)
}
