package mocks_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	saramamocks "github.com/IBM/sarama/mocks"

	"github.com/sluice-kafka/sluice/mocks"
)

// What sarama's mocks export is theirs here too, to the letter.
var (
	_ func(saramamocks.ErrorReporter, *sarama.Config) *saramamocks.AsyncProducer = mocks.NewAsyncProducer
	_ func(saramamocks.ErrorReporter, *sarama.Config) *saramamocks.SyncProducer  = mocks.NewSyncProducer
	_ func(saramamocks.ErrorReporter, *sarama.Config) *saramamocks.Consumer      = mocks.NewConsumer
	_ func() *saramamocks.TopicConfig                                            = mocks.NewTopicConfig
	_ func() *sarama.Config                                                      = mocks.NewTestConfig
	_ *saramamocks.PartitionConsumer                                             = (*mocks.PartitionConsumer)(nil)
	_                                                                            = [1]int{}[mocks.AnyOffset-saramamocks.AnyOffset]
)

// Every name that sarama's mocks export is here.
func TestDropInNames(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/IBM/sarama/mocks").Output()
	if err != nil {
		t.Skipf("the source of sarama's mocks is not at hand: %v", err)
	}
	ours, theirs := exported(t, "."), exported(t, strings.TrimSpace(string(dir)))
	if len(theirs) == 0 {
		t.Fatal("sarama's mocks export nothing")
	}
	for _, name := range theirs {
		if !slices.Contains(ours, name) {
			t.Errorf("mocks has no %s", name)
		}
	}
}

// exported returns the names that the package in dir exports.
func exported(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					add(decl.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Name)
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							add(name)
						}
					}
				}
			}
		}
	}
	return names
}
