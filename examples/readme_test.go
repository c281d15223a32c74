package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A stranger pastes the README's snippets into a module of their own: so does this test.
func TestReadme_SnippetsCompileAsPasted(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	snippets := goSnippets(string(readme))
	require.GreaterOrEqual(t, len(snippets), 5, "a snippet for each package")

	dir := pasteInto(t, snippets)
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// goSnippets returns the fenced blocks that are marked as Go.
func goSnippets(markdown string) []string {
	var snippets []string
	for _, part := range strings.Split(markdown, "\n```go\n")[1:] {
		code, _, _ := strings.Cut(part, "\n```")
		snippets = append(snippets, code+"\n")
	}
	return snippets
}

// pasteInto makes a module that requires what this one does, with each snippet as a package of its own.
func pasteInto(t *testing.T, snippets []string) string {
	t.Helper()
	dir := t.TempDir()
	for i, code := range snippets {
		pkg := filepath.Join(dir, fmt.Sprintf("snippet%d", i+1))
		require.NoError(t, os.Mkdir(pkg, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(pkg, "main.go"), []byte(code), 0o600))
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	here := strings.NewReplacer(
		"module github.com/upbeat-go/upbeat/examples", "module stranger.example/service",
		"=> ../", "=> "+filepath.ToSlash(root)+"/",
		"=> ..", "=> "+filepath.ToSlash(root),
	)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(here.Replace(string(mod))), 0o600))
	sum, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
	return dir
}
