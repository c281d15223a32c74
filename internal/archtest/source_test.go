package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/upbeat-go/upbeat"

// file is one Go file of the workspace, parsed.
type file struct {
	path    string // from the root, with slashes
	lines   int
	syntax  *ast.File
	imports []string
}

// pkg is the import path of the package that the file belongs to.
func (f file) pkg() string { return path.Join(module, path.Dir(f.path)) }

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// within tells whether the import path pkg is root or lies below it.
func within(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/")
}

func rootDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, "go.work"))
	return dir
}

// goFiles parses every Go file below the root, all modules, tests included.
func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	walk(t, func(name string, content []byte) {
		if !strings.HasSuffix(name, ".go") {
			return
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		f := file{path: name, syntax: syntax, lines: strings.Count(string(content), "\n")}
		for _, spec := range syntax.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
	})
	require.NotEmpty(t, files)
	return files
}

// walk calls visit for every file below the root whose folder is not hidden.
func walk(t *testing.T, visit func(name string, content []byte)) {
	t.Helper()
	root := rootDir(t)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		visit(name, content)
		return nil
	})
	require.NoError(t, err)
}
