package main_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/settings"
)

// texts are the documents that people read, with their text.
func texts(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "examples/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			docs[path] = string(text)
		}
	}
	return docs
}

// Every file under examples is one that somebody will copy. Policies load
// without a word; jobspecs, which are Nomad's to parse, are HCL at least.
func TestExamplesLoad(t *testing.T) {
	specs := hclparse.NewParser()
	loaded := 0
	err := filepath.WalkDir("examples", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || entry.IsDir() || filepath.Ext(path) != ".hcl":
			return err
		case strings.HasSuffix(path, ".nomad.hcl"):
			if _, diags := specs.ParseHCLFile(path); diags.HasErrors() {
				t.Error(diags)
			}
		default:
			if set, diags := policy.Load(path); len(diags) > 0 || len(set.Policies()) == 0 {
				t.Errorf("%s: %d policies, %v", path, len(set.Policies()), diags)
			}
		}
		loaded++
		return nil
	})
	if err != nil || loaded < 5 {
		t.Errorf("%d files loaded: %v", loaded, err)
	}
	if _, _, diags := settings.Load("config.hcl"); diags.HasErrors() {
		t.Error(diags)
	}
}

var (
	link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	path = regexp.MustCompile("`((?:agent|gates|rollback|jobspec|testbed|examples|docs)/[A-Za-z0-9_./-]*[A-Za-z0-9_-])(?:\\.([A-Z][A-Za-z]+))?`")
	test = regexp.MustCompile("`(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`")
)

// A document that names a file or a test that is not there has gone stale.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	var source strings.Builder
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "agent/consul/consultest") && !strings.HasPrefix(path, "agent/nomad/nomadtest") {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	docs := texts(t)
	if len(docs) < 8 {
		t.Fatalf("only %d documents", len(docs))
	}
	for doc, text := range docs {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
			}
		}
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names %s, which is not there", doc, m[1])
			}
		}
		for _, m := range test.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(source.String(), "func "+m[1]+"(") {
				t.Errorf("%s names %s, which is not there", doc, m[1])
			}
		}
	}
}

// Every fuzz target is in docs/reliability.md, and has a corpus that is committed.
func TestFuzzTargetsAreDocumented(t *testing.T) {
	guide, err := os.ReadFile("docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	target, targets := regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9_]+)\(`), 0
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range target.FindAllSubmatch(text, -1) {
			name := string(m[1])
			targets++
			if !strings.Contains(string(guide), "`"+name+"`") {
				t.Errorf("docs/reliability.md does not name %s of %s", name, path)
			}
			corpus, err := os.ReadDir(filepath.Join(filepath.Dir(path), "testdata", "fuzz", name))
			if err != nil || len(corpus) == 0 {
				t.Errorf("%s of %s has no corpus: %v", name, path, err)
			}
		}
		return err
	})
	if err != nil || targets < 40 {
		t.Errorf("%d targets: %v", targets, err)
	}
}

// Every metric is in docs/operations.md, and nothing else is.
func TestMetricsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("agent/api/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var are, said []string
	for _, m := range regexp.MustCompile(`(?:gauge|counter)\("([a-z_]+)"|Name: "teal_([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		are = append(are, "teal_"+m[1]+m[2])
	}
	for _, m := range regexp.MustCompile("`(teal_[a-z_]+)(?:\\{[^`]*\\})?`").FindAllStringSubmatch(string(guide), -1) {
		if !slices.Contains(said, m[1]) {
			said = append(said, m[1])
		}
	}
	slices.Sort(are)
	slices.Sort(said)
	if len(are) < 10 || !slices.Equal(are, said) {
		t.Errorf("metrics:\n%v\ndocumented:\n%v", are, said)
	}
}
