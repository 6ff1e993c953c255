package settings

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/notify"
)

// docs/notify.md is held against the code: its example is a config without a
// mistake that has each kind, and every kind, argument, event and severity has
// its line.
func TestNotifyIsDocumented(t *testing.T) {
	emptyEnvironment(t)
	raw, err := os.ReadFile("../../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	example := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindStringSubmatch(text)
	if example == nil {
		t.Fatal("no example")
	}
	s := load(t, example[1])
	var kinds []string
	for _, r := range s.Notify.Receivers {
		kinds = append(kinds, r.Kind)
	}
	for _, kind := range notify.Kinds() {
		if !slices.Contains(kinds, kind) {
			t.Errorf("the example has no %s", kind)
		}
		for _, name := range argumentsOf(t, kind) {
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s: %s is not documented", kind, name)
			}
		}
	}
	for _, event := range notify.Events() {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + event + "`").MatchString(text) {
			t.Errorf("the event %s has no line", event)
		}
	}
	// And nothing else: what stands first in the table of events is one.
	table := text[strings.Index(text, "| event |"):]
	table = table[:strings.Index(table, "\n\n")]
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(table, -1) {
		for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(m[1], -1) {
			if !slices.Contains(notify.Events(), name[1]) {
				t.Errorf("%s is documented, and no event", name[1])
			}
		}
	}
}

// argumentsOf asks the decoder itself what a block may hold.
func argumentsOf(t *testing.T, kind string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(path, []byte("notify \""+kind+"\" \"x\" {\n  unheard_of = 1\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, diags := Load(path)
	for _, d := range diags {
		if _, list, ok := strings.Cut(d.Detail, ": arguments "); ok {
			return strings.Split(strings.TrimSuffix(list, "."), ", ")
		}
	}
	t.Fatalf("the decoder does not say what it knows: %v", diags)
	return nil
}

// Mistakes in notify blocks are the config's: with file and line, and without
// secrets.
func TestNotifyMistakes(t *testing.T) {
	emptyEnvironment(t)
	path := filepath.Join(t.TempDir(), "config.hcl")
	lines := []string{
		`notify "webhook" "a" { url = "http://h/" }`,
		`notify "webhook" "a" { url = "http://h/" }`,                           // 2: the same name
		`notify "smoke" "b" {}`,                                                // 3: no such kind
		`notify "webhook" "c" { url = "PLANTED" }`,                             // 4
		`notify "webhook" { url = "http://h/" }`,                               // 5: no name
		`notify "pagerduty" "d" { routing_key = env("NOT_SET_ANYWHERE", "") }`, // 6: empty
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, diags := Load(path)
	var got []int
	for _, d := range diags {
		got = append(got, d.Subject.Start.Line)
		if strings.Contains(d.Error(), "PLANTED") || d.Subject.Filename != path {
			t.Errorf("%v", d)
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, []int{2, 3, 4, 5, 6}) {
		t.Errorf("lines %v: %v", got, diags)
	}
}

// An edit of a block is noticed, and one of a comment outside is not.
func TestNotifyText(t *testing.T) {
	emptyEnvironment(t)
	text := func(config string) string { return load(t, config).Notify.Text }
	one := text("notify \"webhook\" \"a\" { url = \"http://h/\" }")
	if one == "" || one != text("# a comment\n\nnotify \"webhook\" \"a\" { url = \"http://h/\" }") {
		t.Errorf("%q", one)
	}
	if one == text("notify \"webhook\" \"a\" { url = \"http://i/\" }") || one == text("notify \"webhook\" \"b\" { url = \"http://h/\" }") {
		t.Error("an edit is not noticed")
	}
}
