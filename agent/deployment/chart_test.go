package deployment

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	chartFile  = "../../docs/states.md"
	chartBegin = "<!-- generated from the table by go test ./agent/deployment -update -->\n"
	chartEnd   = "<!-- end of what is generated -->\n"
)

// TestTheChartIsTheTable holds docs/states.md against the table that Step goes
// by. -update draws it anew.
func TestTheChartIsTheTable(t *testing.T) {
	raw, err := os.ReadFile(chartFile)
	if err != nil {
		t.Fatal(err)
	}
	above, rest, ok := strings.Cut(string(raw), chartBegin)
	drawn, below, ended := strings.Cut(rest, chartEnd)
	if !ok || !ended {
		t.Fatalf("%s has lost its marks %q and %q", chartFile, chartBegin, chartEnd)
	}
	want := chart() + "\n" + endings()
	if *update {
		if err := os.WriteFile(chartFile, []byte(above+chartBegin+want+chartEnd+below), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if drawn != want {
		t.Errorf("%s is not what the table says; run with -update:\n%s", chartFile, want)
	}
	// Every state and event that the page's own words name exists.
	for _, state := range States {
		if !strings.Contains(above+below, "`"+string(state)+"`") {
			t.Errorf("%s does not say what %s is", chartFile, state)
		}
	}
}

// chart draws the table. Events that lead from one state to the same other are
// one arrow.
func chart() string {
	type arrow struct{ from, to State }
	arrows := map[arrow][]string{}
	for e, to := range edges {
		arrows[arrow{e.from, to}] = append(arrows[arrow{e.from, to}], string(e.ev))
	}
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	id := func(s State) string { return strings.ReplaceAll(string(s), "-", "_") }
	for _, s := range States {
		label := string(s)
		if a := onEntry[s]; a != "" {
			label += ": " + string(a)
		}
		fmt.Fprintf(&b, "    state %q as %s\n", label, id(s))
	}
	fmt.Fprintf(&b, "    [*] --> %s : %s\n    [*] --> %s : %s\n", id(Preparing), Begin, id(CuttingOver), Switch)
	for _, from := range States {
		for _, to := range States {
			events := arrows[arrow{from, to}]
			if len(events) == 0 {
				continue
			}
			slices.Sort(events)
			fmt.Fprintf(&b, "    %s --> %s : %s\n", id(from), id(to), strings.Join(events, ", "))
		}
	}
	fmt.Fprintf(&b, "    %s --> [*]\n```\n", id(Done))
	return b.String()
}

// endings is how a release ends, by the event that ends it.
func endings() string {
	var b strings.Builder
	b.WriteString("| ended by | outcome | from |\n|---|---|---|\n")
	for _, kind := range slices.Sorted(maps.Keys(outcomes)) {
		var from []string
		for _, s := range States {
			if to, ok := edges[edge{s, kind}]; ok && to == Done {
				from = append(from, string(s))
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", kind, outcomes[kind], strings.Join(from, ", "))
	}
	return b.String()
}

// Every event that ends a release has an outcome, and none other has.
func TestEveryEndHasAnOutcome(t *testing.T) {
	ends := map[Kind]bool{}
	for e, to := range edges {
		if to == Done {
			ends[e.ev] = true
		}
	}
	for kind := range ends {
		if outcomes[kind] == "" {
			t.Errorf("a release ended by %s has no outcome", kind)
		}
	}
	for kind := range outcomes {
		if !ends[kind] {
			t.Errorf("%s ends nothing", kind)
		}
	}
}
