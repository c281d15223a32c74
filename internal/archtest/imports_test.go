package archtest_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// siblings are the packages that never import one another.
var siblings = []string{"heartbeat", "consumer", "pool", "queue", "store"}

// standardOnly are the packages without a dependency outside the standard
// library, and the internal packages that each may use.
var standardOnly = map[string][]string{
	"consumer":         {"internal/backoff", "internal/latency"},
	"queue":            {"internal/backoff", "internal/latency"},
	"store":            nil,
	"internal/backoff": nil,
	"internal/latency": nil,
}

// sibling returns which of the five packages pkg belongs to, or "".
func sibling(pkg string) string {
	for _, s := range siblings {
		if within(pkg, module+"/"+s) {
			return s
		}
	}
	return ""
}

func TestImports_SiblingsMeetInExamplesOnly(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		own := sibling(f.pkg())
		for _, imported := range f.imports {
			other := sibling(imported)
			if own != "" && other != "" {
				assert.Equal(t, own, other, "%s imports %s", f.path, imported)
			}
			if own != "" {
				assert.False(t, within(imported, module+"/examples"), "%s imports %s", f.path, imported)
			}
		}
	}
}

// What two packages share must not know either, or it would tie them together.
func TestImports_InternalPackagesKnowNoSibling(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if !within(f.pkg(), module+"/internal") || within(f.pkg(), module+"/internal/bench") {
			continue
		}
		for _, imported := range f.imports {
			assert.Empty(t, sibling(imported), "%s imports %s", f.path, imported)
		}
	}
}

func TestImports_StandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		folder := strings.TrimPrefix(f.pkg(), module+"/")
		internal, listed := standardOnly[folder]
		if !listed || f.isTest() {
			continue
		}
		for _, imported := range f.imports {
			first, _, _ := strings.Cut(imported, "/")
			ours := slices.Contains(internal, strings.TrimPrefix(imported, module+"/"))
			assert.True(t, ours || !strings.Contains(first, "."), "%s imports %s", f.path, imported)
		}
	}
}

// Test helpers must not be linked into a user's program.
func TestImports_TestOnlyPackagesStayInTests(t *testing.T) {
	t.Parallel()
	forTests := []string{"testing", "github.com/stretchr/testify", module + "/internal/testserver"}
	helpers := []string{"examples/internal/exetest", "consumer/consumertest", "queue/queuetest", "store/storetest", "heartbeat/heartbeattest", "internal"}
	for _, f := range goFiles(t) {
		isHelper := slices.ContainsFunc(helpers, func(h string) bool { return within(f.pkg(), module+"/"+h) })
		if f.isTest() || isHelper {
			continue
		}
		for _, imported := range f.imports {
			for _, p := range forTests {
				assert.False(t, within(imported, p), "%s imports %s", f.path, imported)
			}
		}
	}
}

// A library that acts on being imported, or that reads the environment of its
// own accord, surprises the program that it lives in.
func TestSource_NoInitAndNoHiddenEnvironment(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if f.isTest() || sibling(f.pkg()) == "" {
			continue
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			assert.False(t, fn.Recv == nil && fn.Name.Name == "init", "%s has an init function", f.path)
			if !strings.HasSuffix(fn.Name.Name, "FromEnv") && !strings.HasSuffix(fn.Name.Name, "fromEnv") {
				assert.False(t, readsEnvironment(fn), "%s: %s reads the environment", f.path, fn.Name.Name)
			}
		}
	}
}

func readsEnvironment(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		found = found || ok && x.Name == "os" && slices.Contains([]string{"Getenv", "LookupEnv", "Environ"}, sel.Sel.Name)
		return true
	})
	return found
}

func TestSource_FilesTellOneStory(t *testing.T) {
	t.Parallel()
	const limit = 400
	for _, f := range goFiles(t) {
		assert.LessOrEqual(t, f.lines, limit, f.path)
	}
}

// A newcomer looks for what a package guarantees in one place. What only this module imports may be smaller than that.
func TestSource_EveryPackageIsDocumented(t *testing.T) {
	t.Parallel()
	documented, all := map[string]bool{}, map[string]bool{}
	for _, f := range goFiles(t) {
		if f.isTest() || f.syntax.Name.Name == "main" {
			continue
		}
		all[f.pkg()] = true
		internal := strings.Contains(f.pkg(), "/internal/")
		if f.syntax.Doc != nil && (internal || strings.HasSuffix(f.path, "/doc.go")) {
			documented[f.pkg()] = true
		}
	}
	for pkg := range all {
		assert.True(t, documented[pkg], "%s has no package comment in a doc.go", pkg)
	}
}
