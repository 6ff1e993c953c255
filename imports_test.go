package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tealdeploy/teal"

// layers are all packages of the product, from the top down. A package imports
// only from layers below its own. A new package stands in none of them and
// fails the test until somebody has thought about its place.
var layers = [][]string{
	{"", "examples/app"},
	{"agent/cli"},
	{"agent"},
	{"agent/controller", "agent/settings", "agent/api", "agent/worker"},
	{"agent/traffic", "agent/joblock", "agent/leader", "agent/policy", "agent/scrape", "agent/audit", "agent/notify", "rollback/judge"},
	{"agent/consul", "agent/nomad"}, // adapters
	{"agent/kv", "gates", "rollback", "jobspec"},
	{"agent/ask"},
	{"agent/login", "agent/measure"},
	{"agent/deep", "agent/deployment", "agent/hclbody", "agent/held", "agent/packed", "agent/plainfile", "agent/redact", "agent/trust"}, // leaves
}

// fakes stand beside what they are fakes of, and are in no binary.
var fakes = []string{"agent/consul/consultest", "agent/nomad/nomadtest"}

// forbidden are edges that the layers alone would allow.
var forbidden = map[string][]string{
	// Commands are keys in Consul KV, so that Consul's ACLs decide. The command
	// line can run an agent, and needs none of its insides.
	"agent/cli": {"agent/controller", "agent/leader", "agent/traffic", "agent/nomad", "agent/joblock"},
	// The surface only shows.
	"agent/api": {"agent/consul", "agent/nomad", "agent/policy", "agent/traffic"},
	// Workers obey a key, and neither an agent nor a policy.
	"agent/worker": {"agent/policy", "agent/nomad", "agent/traffic", "agent/leader"},
	// A file on this machine, and nothing else.
	"agent/audit":  {"agent/consul", "agent/nomad", "agent/kv", "gates", "rollback", "jobspec"},
	"agent/notify": {"agent/nomad", "agent/policy", "agent/traffic", "agent/leader", "gates", "rollback", "jobspec"},
	// Each knows its own technology only.
	"agent/consul":  {"agent/kv", "jobspec", "gates", "rollback"},
	"agent/nomad":   {"agent/deployment", "agent/kv", "jobspec", "gates", "rollback"},
	"agent/leader":  {"agent/nomad", "agent/kv", "agent/deployment"},
	"agent/joblock": {"agent/nomad"},
	"agent/traffic": {"agent/consul", "agent/nomad", "agent/kv", "gates", "rollback", "jobspec"},
	// What is judged knows nothing of who judges, and the other way round.
	"gates":    {"agent/kv", "jobspec", "rollback"},
	"rollback": {"agent/kv", "jobspec", "gates", "agent/ask"},
	"jobspec":  {"agent/kv", "gates", "rollback", "agent/hclbody"},
	"agent/kv": {"agent/hclbody"},
}

// pure are the packages that do no I/O, start no goroutine and read no clock.
// With them, what may happen to a release can be tested without a server.
var pure = []string{"agent/deployment", "agent/kv", "agent/measure", "rollback", "jobspec"}

// pureMay is all that they import, besides our own. Of a package with names
// only these are used.
var pureMay = map[string][]string{
	"bytes": nil, "cmp": nil, "crypto/sha256": nil, "encoding/hex": nil, "encoding/json": nil, "errors": nil, "fmt": nil,
	"iter": nil, "maps": nil, "math": nil, "reflect": nil, "regexp": nil, "regexp/syntax": nil, "slices": nil, "sort": nil, "strconv": nil, "strings": nil,
	"net":           {"JoinHostPort", "SplitHostPort"},
	"net/url":       nil,
	"path/filepath": {"IsAbs"},
	"time":          {"Time", "Duration", "Millisecond", "Second", "Minute", "Hour", "ParseDuration"},

	"github.com/hashicorp/hcl/v2":    nil,
	"github.com/zclconf/go-cty/cty":  nil,
	"github.com/hashicorp/nomad/api": nil, // its types, see clients
}

// clients are what would make of nomad/api more than its types.
var clients = []string{"NewClient", "DefaultConfig", "ClientConfig"}

type listed struct {
	ImportPath   string
	Standard     bool
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path, Version string }
}

func (p listed) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Dir,GoFiles,Imports,TestImports,XTestImports,Module"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// ours is an import's name within this module; ok is false for all others.
func ours(path string) (name string, ok bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.Contains(layer, name) })
}

func TestImportsRunDownward(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range goList(t, "./...") {
		from := p.name()
		seen[from] = true
		if slices.Contains(fakes, from) {
			continue
		}
		at := layerOf(from)
		if at < 0 {
			t.Errorf("%s stands in no layer: find its place in imports_test.go", from)
			continue
		}
		for _, path := range p.Imports {
			to, ok := ours(path)
			if !ok {
				continue
			}
			switch {
			case slices.Contains(fakes, to):
				t.Errorf("%s imports %s, which is for tests", from, to)
			case layerOf(to) <= at:
				t.Errorf("%s imports %s, which is not below it", from, to)
			case slices.Contains(forbidden[from], to):
				t.Errorf("%s imports %s: imports_test.go says why not", from, to)
			}
		}
	}
	for _, layer := range layers {
		for _, name := range layer {
			if !seen[name] {
				t.Errorf("there is no package %q any more: take it out of imports_test.go", name)
			}
		}
	}
}

// The deciding packages decide, and nothing else: every input is an argument.
func TestDecidingPackagesDoNothing(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if !slices.Contains(pure, p.name()) {
			continue
		}
		for _, name := range p.GoFiles {
			for _, what := range impure(t, filepath.Join(p.Dir, name)) {
				t.Errorf("%s/%s", p.name(), what)
			}
		}
	}
}

// impure lists what in a file a pure package must not have.
func impure(t *testing.T, path string) []string {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	say := func(at token.Pos, format string, args ...any) {
		p := fset.Position(at)
		found = append(found, fmt.Sprintf("%s:%d: %s", filepath.Base(p.Filename), p.Line, fmt.Sprintf(format, args...)))
	}
	bound := map[string]string{} // name in the file → import path
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if _, ok := ours(path); ok {
			continue
		}
		if _, ok := pureMay[path]; !ok {
			say(spec.Pos(), "imports %s", path)
		}
		name := filepath.Base(path)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		bound[name] = path
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n.Pos(), "starts a goroutine")
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			path := bound[pkg.Name]
			only := pureMay[path]
			if only != nil && !slices.Contains(only, n.Sel.Name) || path == "github.com/hashicorp/nomad/api" && slices.Contains(clients, n.Sel.Name) {
				say(n.Pos(), "uses %s.%s", pkg.Name, n.Sel.Name)
			}
		}
		return true
	})
	return found
}

// Waiting means watching for the state one wants, with a deadline.
func TestNobodySleeps(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if p.name() == "examples/app" || slices.Contains(fakes, p.name()) {
			continue // to be slow is what they are asked for
		}
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(src, []byte("time.Sleep(")) {
				t.Errorf("%s/%s sleeps", p.name(), name)
			}
		}
	}
}

// Consul's and Nomad's servers are BUSL; only their api modules, which are
// MPL, may be in the binary. Neither may anything that is for tests.
func TestTheBinaryHoldsNoServer(t *testing.T) {
	var modules []string
	for _, p := range goList(t, "-deps", ".") {
		if name, ok := ours(p.ImportPath); ok && (slices.Contains(fakes, name) || strings.HasPrefix(name, "testbed") || slices.Contains(p.Imports, "testing")) {
			t.Errorf("%s is in the binary, and for tests", name)
		}
		if p.Module != nil && !slices.Contains(modules, p.Module.Path) {
			modules = append(modules, p.Module.Path)
		}
	}
	for _, server := range []string{"consul", "nomad"} {
		path := "github.com/hashicorp/" + server
		if slices.Contains(modules, path) {
			t.Errorf("%s is in the binary: its licence forbids it", path)
		}
		if !slices.Contains(modules, path+"/api") {
			t.Errorf("%s/api is not among %v: this test looks in the wrong place", path, modules)
		}
	}
}
