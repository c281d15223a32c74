package archtest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allowed are the direct requirements of the root module. A further one needs
// a reason in ARCHITECTURE.md, under its module path.
var allowed = map[string]bool{
	"github.com/redis/go-redis/v9":  true,
	"github.com/shirou/gopsutil/v3": true,
	"github.com/jackc/pgx/v5":       true,
	"github.com/stretchr/testify":   true,
}

type goMod struct {
	Module    struct{ Path string }
	Go        string
	Toolchain string
	Require   []struct {
		Path     string
		Indirect bool
	}
	Replace []struct {
		Old, New struct{ Path string }
	}
	Use []struct{ DiskPath string } // of a go.work
}

// edit parses a go.mod or go.work with the go command, which knows its syntax.
func edit(t *testing.T, verb, name string) goMod {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", verb, "edit", "-json", filepath.Join(rootDir(t), name)).Output()
	require.NoError(t, err, name)
	var m goMod
	require.NoError(t, json.Unmarshal(out, &m))
	return m
}

// modules finds every go.mod below the root, by folder.
func modules(t *testing.T) map[string]goMod {
	t.Helper()
	found := map[string]goMod{}
	walk(t, func(name string, _ []byte) {
		if path.Base(name) == "go.mod" {
			found[path.Dir(name)] = edit(t, "mod", name)
		}
	})
	require.Contains(t, found, ".")
	return found
}

func TestModules_RootRequiresWhatArchitectureNames(t *testing.T) {
	t.Parallel()
	architecture, err := os.ReadFile(filepath.Join(rootDir(t), "ARCHITECTURE.md"))
	require.NoError(t, err)
	for _, r := range edit(t, "mod", "go.mod").Require {
		if !r.Indirect && !allowed[r.Path] {
			assert.Contains(t, string(architecture), r.Path, "a direct requirement without a reason in ARCHITECTURE.md")
		}
	}
}

func TestModules_WorkspaceNamesAll(t *testing.T) {
	t.Parallel()
	var used []string
	for _, u := range edit(t, "work", "go.work").Use {
		used = append(used, path.Clean(u.DiskPath))
	}
	var found []string
	for dir := range modules(t) {
		found = append(found, dir)
	}
	assert.ElementsMatch(t, found, used)
}

// Each module must build alone, against the checkout that it lies in.
func TestModules_NestedOnesReplaceTheirNeighbours(t *testing.T) {
	t.Parallel()
	for dir, m := range modules(t) {
		assert.Equal(t, path.Join(module, dir), m.Module.Path, dir)
		assert.Equal(t, "1.26.0", m.Go, "%s: a patch version is a floor imposed on users", dir)
		assert.Empty(t, m.Toolchain, dir)

		replaced := map[string]string{}
		for _, r := range m.Replace {
			replaced[r.Old.Path] = r.New.Path
		}
		for _, r := range m.Require {
			if !within(r.Path, module) {
				continue
			}
			target, ok := replaced[r.Path]
			require.True(t, ok, "%s requires %s without a replace", dir, r.Path)
			assert.Equal(t, strings.TrimPrefix(strings.TrimPrefix(r.Path, module), "/"),
				strings.TrimPrefix(path.Join(dir, target), "."), "%s replaces %s by another folder", dir, r.Path)
		}
	}
}
