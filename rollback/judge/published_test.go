package judge_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var from = flag.String("from", "", "figures of make judge, to be published in the document")

const (
	published = "testdata/judge.json" // the figures that the document tells
	document  = "../../docs/judgement.md"
)

// block is a part of the document that is made of figures.
var block = regexp.MustCompile(`(?s)<!-- judge: ([a-z ]+) -->\n(.*?)<!-- end -->`)

// The document tells the figures that were measured, of every method in every
// scenario that there is, and with enough runs of each. With -from it is written anew.
func TestPublishedFigures(t *testing.T) {
	path := published
	if *from != "" {
		path = *from
	}
	var r Report
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	complete(t, r)
	doc, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	told := block.ReplaceAllStringFunc(string(doc), func(was string) string {
		name := block.FindStringSubmatch(was)[1]
		made[name] = true
		return "<!-- judge: " + name + " -->\n" + r.block(name) + "<!-- end -->"
	})
	for _, name := range []string{"goals", "errors healthy", "errors bad", "latency healthy", "latency bad", "figure healthy", "figure bad"} {
		if !made[name] {
			t.Errorf("%s has no block %q", document, name)
		}
	}
	switch {
	case t.Failed():
	case *from != "":
		if err := publish(r, told); err != nil {
			t.Fatal(err)
		}
	case told != string(doc):
		t.Errorf("%s does not tell what is in %s; after make judge, make judge-docs writes both", document, published)
	}
}

// complete reports what was not measured.
func complete(t *testing.T, r Report) {
	t.Helper()
	type cell struct{ scenario, method string }
	var want, got []cell
	for _, s := range Scenarios() {
		list, err := contestants(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			want = append(want, cell{s.Name, c.name})
		}
	}
	for _, c := range r.Cells {
		got = append(got, cell{c.Scenario, c.Method})
		if c.Runs < 1000 {
			t.Errorf("%s, %s: only %d runs", c.Scenario, c.Method, c.Runs)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d cells were measured, and there are %d, or others; make judge measures them", len(got), len(want))
	}
}

// publish writes the figures, one cell a line, and the document.
func publish(r Report, doc string) error {
	cells := r.Cells
	r.Cells = nil
	head, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var lines []string
	for _, c := range cells {
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		lines = append(lines, "    "+string(line))
	}
	all := strings.Replace(string(head), `"judge": null`, "\"judge\": [\n"+strings.Join(lines, ",\n")+"\n  ]", 1)
	if err := os.MkdirAll(filepath.Dir(published), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(published, []byte(all+"\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(document, []byte(doc), 0o644)
}

// block writes a part of the document.
func (r Report) block(name string) string {
	if name == "goals" {
		return r.goals()
	}
	of, which, _ := strings.Cut(name, " ")
	var methods, scenarios []string
	cells := map[string]map[string]Cell{}
	for _, c := range r.Cells {
		if kind(c.Scenario) != of || c.Healthy != (which == "healthy") {
			continue
		}
		if cells[c.Scenario] == nil {
			cells[c.Scenario] = map[string]Cell{}
			scenarios = append(scenarios, c.Scenario)
		}
		cells[c.Scenario][c.Method] = c
		if !slices.Contains(methods, c.Method) {
			methods = append(methods, c.Method)
		}
	}
	var out strings.Builder
	out.WriteString("| |")
	for _, m := range methods {
		if inSequence(m) {
			m = "**" + m + "**"
		}
		out.WriteString(" " + m + " |")
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(methods)) + "\n")
	for _, s := range scenarios {
		out.WriteString("| " + strings.TrimPrefix(s, of+": ") + " |")
		for _, m := range methods {
			out.WriteString(" " + cells[s][m].told() + " |")
		}
		out.WriteString("\n")
	}
	return out.String()
}

// told is a cell in a few words.
func (c Cell) told() string {
	if c.Healthy {
		return share(c.False, c.Runs)
	}
	text := seconds(c.P50) + ", " + seconds(c.P95)
	if c.P50 == never {
		text = "–"
	}
	if c.Missed > 0 {
		text += "; " + share(c.Missed, c.Runs) + " missed"
	}
	if c.False > 0 {
		text += "; " + share(c.False, c.Runs) + " too early"
	}
	return text
}

// goals tells whether they are met, and by what they are missed.
func (r Report) goals() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured on %s with %s on %s: %d runs of each cell, seed %d.\n\n", r.Date, r.Go, r.Machine, r.Runs, r.Seed)
	for _, g := range Goals(r.Cells) {
		word := "missed"
		if g.Met() {
			word = "met"
		}
		fmt.Fprintf(&out, "- **%s**: %s (%d cells).\n", word, g.Text, g.Cells)
		for _, miss := range g.Misses {
			fmt.Fprintf(&out, "  - %s\n", miss)
		}
	}
	return out.String()
}
