package docstest

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// TestEverythingHasAnExample wants of the two packages that promise compatibility:
//   - for each exported function an Example with an Output, so that it runs
//   - for each exported type an Example of it, of a method, or of a function that takes or returns it
//   - each exported method called by an Example
func TestEverythingHasAnExample(t *testing.T) {
	for _, dir := range []string{".", "mocks"} {
		t.Run(dir, func(t *testing.T) {
			pkg, examples := parse(t, filepath.Join(root, dir))
			named, called := map[string]bool{}, map[string]bool{}
			for _, ex := range examples {
				if ex.Output == "" && !ex.EmptyOutput {
					t.Errorf("Example%s has no Output: it does not run", ex.Name)
				}
				named[ex.Name] = true
				typeName, _, _ := strings.Cut(ex.Name, "_")
				named[typeName] = true
				ast.Inspect(ex.Code, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok {
						called[sel.Sel.Name] = true
					}
					return true
				})
			}
			shown := map[string]bool{} // types that a function with an Example takes or returns
			functions := slices.Clone(pkg.Funcs)
			for _, typ := range pkg.Types {
				functions = append(functions, typ.Funcs...)
			}
			for _, f := range functions {
				if !named[f.Name] {
					t.Errorf("no Example%s", f.Name)
					continue
				}
				ast.Inspect(f.Decl.Type, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						shown[id.Name] = true
					}
					return true
				})
			}
			for _, typ := range pkg.Types {
				if !named[typ.Name] && !shown[typ.Name] {
					t.Errorf("no Example of the type %s, of a method, or of a function that takes or returns it", typ.Name)
				}
				for _, m := range typ.Methods {
					if !called[m.Name] && m.Name != "String" {
						t.Errorf("no Example calls %s.%s", typ.Name, m.Name)
					}
				}
			}
		})
	}
}

// parse reads a package, with its exported names only, and the Examples beside it.
func parse(t *testing.T, dir string) (*doc.Package, []*doc.Example) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var source, tests []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			tests = append(tests, file)
		} else {
			source = append(source, file)
		}
	}
	pkg, err := doc.NewFromFiles(fset, source, "github.com/sluice-kafka/sluice")
	if err != nil {
		t.Fatal(err)
	}
	if len(pkg.Types) == 0 {
		t.Fatalf("nothing is exported in %s", dir)
	}
	return pkg, doc.Examples(tests...)
}
