package docstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A block of Go in README.md or docs/ is one of these:
//
//   - a program (it begins with "package main"): it is built and run
//   - a fragment: it is built and run as the body of a main, whose imports are as the names in it say. If it uses
//     ctx, brokers, config or producer and does not declare them, they are: context.Background(), the addresses of a
//     cluster, sluice.NewConfig(), and the producer that sluice.New makes of these two
//   - declarations: they are built
//
// []string{"localhost:9092"} stands for the cluster's addresses. It creates each topic that is written to. What runs must
// end by itself, with exit status 0, in time.
//
// A mark behind the language changes that:
//
//   - "go build": is only built. For what needs a cluster, a server or a certificate of the reader's own.
//   - "go FOLDER": is a part of a file of that folder, a module of its own, where it is built and tested.
//
// A block "text output" behind it is what it prints.
//
// In the README.md of a module of its own each has the mark of that folder: what it imports is not in this module.

// imports are what a fragment may name without an import.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "json": "encoding/json", "log": "log", "os": "os", "slices": "slices", "slog": "log/slog",
	"strconv": "strconv", "strings": "strings", "sync": "sync", "tls": "crypto/tls", "time": "time", "x509": "crypto/x509",
	"atomic": "sync/atomic", "testing": "testing", "http": "net/http", "signal": "os/signal", "maps": "maps",
	"sarama": "github.com/IBM/sarama",
	"sluice": "github.com/sluice-kafka/sluice",
	"mocks":  "github.com/sluice-kafka/sluice/mocks",
	"oauth":  "github.com/sluice-kafka/sluice/oauth",
}

// runFor bounds one snippet, and buildFor all of them.
const (
	runFor   = 2 * time.Minute
	buildFor = 10 * time.Minute
)

func TestSnippets(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a program")
	}
	var snippets []block
	all := pages(t)
	for _, page := range sorted(all) {
		folder, isReadme := strings.CutSuffix(page, "/README.md")
		isModule := isReadme && exists(filepath.Join(root, folder, "go.mod"))
		if page != "README.md" && !strings.HasPrefix(page, "docs/") && !isModule {
			continue
		}
		for _, b := range blocks(t, page, all[page]) {
			switch {
			case isModule && b.language == "go" && b.mark != folder:
				t.Errorf("%s:%d: the block is not marked %q", page, b.line, "go "+folder)
			case isModule && b.language != "go":
			case b.language == "text" && b.mark == "output":
				snippets[len(snippets)-1].output = b.text
			case b.language != "go":
			case b.mark == "" || b.mark == "build":
				snippets = append(snippets, b)
			default:
				wantInFolder(t, b)
			}
		}
	}
	dir := t.TempDir()
	gen := generator{root: abs(t, root), dir: dir, overlay: map[string]string{}}
	for i, b := range snippets {
		gen.add(t, i, b)
	}
	if t.Failed() {
		return
	}
	program := gen.build(t, len(snippets))

	var running sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i, b := range snippets {
		if b.mark == "build" {
			continue
		}
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(t.Context(), runFor)
			defer cancel()
			var stdout, stderr strings.Builder
			cmd := exec.CommandContext(ctx, program, strconv.Itoa(i))
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Errorf("%s:%d: %v\n%s%s", b.page, b.line, errors.Join(err, ctx.Err()), &stdout, &stderr)
			} else if b.output != "" && stdout.String() != b.output {
				t.Errorf("%s:%d: it printed\n%s%s", b.page, b.line, &stdout, &stderr)
			}
		})
	}
	running.Wait()
}

// wantInFolder fails unless a file of the folder that the mark names has the block.
func wantInFolder(t *testing.T, b block) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(root, b.mark, "*.go"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(unindented(string(text)), unindented(b.text)) {
			return
		}
	}
	t.Errorf("%s:%d: no file of %q has this block", b.page, b.line, b.mark)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A generator makes one program of all snippets. It is in this module, and on no disk: its files are an overlay of go build.
type generator struct {
	root, dir string
	overlay   map[string]string // where a file seems to be: where it is
	packages  []string
}

// environment is what each snippet's package has besides.
const environment = `package %s

import (
	"log"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

var brokers []string

func SetBrokers(addrs []string) { brokers = addrs }

func newProducer(config *sarama.Config) *sluice.Producer {
	producer, err := sluice.New(brokers, config)
	if err != nil {
		log.Fatal(err)
	}
	return producer
}
`

const generated = "internal/docstest/generated"

func (g *generator) file(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(g.dir, strings.ReplaceAll(name, "/", "_"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.overlay[filepath.Join(g.root, generated, filepath.FromSlash(name))] = path
}

// add makes a package of a snippet, with a function Run.
func (g *generator) add(t *testing.T, i int, b block) {
	t.Helper()
	if formatted, err := format.Source([]byte(b.text)); err != nil {
		t.Errorf("%s:%d: %v", b.page, b.line, err)
		return
	} else if string(formatted) != b.text {
		t.Errorf("%s:%d: gofmt wants\n%s", b.page, b.line, formatted)
	}
	text := strings.ReplaceAll(b.text, `[]string{"localhost:9092"}`, "brokers")
	name := fmt.Sprintf("s%d", i)
	g.packages = append(g.packages, name)
	line := fmt.Sprintf("//line %s:%d\n", filepath.Join(g.root, filepath.FromSlash(b.page)), b.line)
	g.file(t, name+"/brokers.go", fmt.Sprintf(environment, name))
	switch {
	case strings.HasPrefix(text, "package main\n"):
		text = strings.Replace(text, "func main() {", "func Run() {", 1)
		g.file(t, name+"/snippet.go", "package "+name+"\n"+line+strings.TrimPrefix(text, "package main"))
	case isDeclarations(text):
		g.file(t, name+"/snippet.go", "package "+name+"\n"+importsOf(t, b, text)+"func Run() {}\n\n"+line+text)
	default:
		g.file(t, name+"/snippet.go", "package "+name+"\n"+wrap(t, b, text, line))
	}
}

func isDeclarations(text string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, parser.SkipObjectResolution)
	return err == nil
}

// wrap makes a function of a fragment.
func wrap(t *testing.T, b block, text, line string) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() {\n"+text+"\n}", 0)
	if err != nil {
		t.Fatalf("%s:%d: %v", b.page, b.line, err)
	}
	var declared []string // in the fragment's outermost block
	for _, stmt := range file.Decls[0].(*ast.FuncDecl).Body.List {
		switch stmt := stmt.(type) {
		case *ast.AssignStmt:
			for _, name := range stmt.Lhs {
				if id, ok := name.(*ast.Ident); ok && stmt.Tok == token.DEFINE && id.Name != "_" && !slices.Contains(declared, id.Name) {
					declared = append(declared, id.Name)
				}
			}
		case *ast.DeclStmt:
			if gen, ok := stmt.Decl.(*ast.GenDecl); ok && gen.Tok == token.VAR {
				for _, spec := range gen.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						declared = append(declared, id.Name)
					}
				}
			}
		}
	}
	missing := map[string]bool{}
	for _, id := range file.Unresolved {
		missing[id.Name] = !slices.Contains(declared, id.Name)
	}
	for _, name := range []string{"config", "ctx", "producer"} {
		missing[name] = missing[name] && !slices.Contains(declared, name)
	}
	var before, after strings.Builder
	if missing["ctx"] {
		before.WriteString("ctx := context.Background()\n")
	}
	if missing["config"] || missing["producer"] && !slices.Contains(declared, "config") {
		before.WriteString("config := sluice.NewConfig()\n")
	}
	if missing["producer"] {
		before.WriteString("producer := newProducer(config)\ndefer producer.Close()\n")
	}
	for _, name := range declared { // what a fragment only declares
		after.WriteString("_ = " + name + "\n")
	}
	whole := before.String() + line + text + after.String()
	return importsOf(t, b, whole) + "func Run() {\n" + whole + "}\n"
}

// importsOf imports what a text names.
func importsOf(t *testing.T, b block, text string) string {
	t.Helper()
	source := "package p\n" + text
	if !isDeclarations(text) {
		source = "package p\nfunc f() {\n" + text + "\n}"
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	if err != nil {
		t.Fatalf("%s:%d: %v", b.page, b.line, err)
	}
	var paths []string
	for _, id := range file.Unresolved {
		if path, ok := imports[id.Name]; ok && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	var text2 strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&text2, "import %q\n", path)
	}
	return text2.String()
}

// build builds the program, which runs the snippet whose number is its argument.
func (g *generator) build(t *testing.T, n int) string {
	t.Helper()
	var main strings.Builder
	main.WriteString("package main\n\nimport (\n\"log\"\n\"os\"\n\n\"github.com/sluice-kafka/sluice/mocks\"\n")
	for _, name := range g.packages {
		fmt.Fprintf(&main, "%q\n", "github.com/sluice-kafka/sluice/"+generated+"/"+name)
	}
	main.WriteString(")\n\nfunc main() {\ncluster, err := mocks.StartCluster(mocks.WithAutoCreateTopics(4))\nif err != nil {\nlog.Fatal(err)\n}\ndefer cluster.Close()\nswitch os.Args[1] {\n")
	for i, name := range g.packages {
		fmt.Fprintf(&main, "case \"%d\":\n%s.SetBrokers(cluster.Brokers())\n%s.Run()\n", i, name, name)
	}
	main.WriteString("}\n}\n")
	g.file(t, "main.go", main.String())
	overlay, err := json.Marshal(map[string]any{"Replace": g.overlay})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(g.dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(g.dir, "snippets")
	ctx, cancel := context.WithTimeout(t.Context(), buildFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlayFile, "-o", program, "./"+generated)
	cmd.Dir = g.root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n == 0 {
		t.Fatal("there are no snippets")
	}
	return program
}
