package judge_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// Goal is something that Teal's way to judge in sequence has to reach, in every
// scenario and whatever it knows of the previous colour.
type Goal struct {
	Text  string `json:"goal"`
	Cells int    `json:"cells"` // that were looked at; of none nothing is known
	// Misses are the cells that do not reach it.
	Misses []string `json:"misses"`
}

// Met says whether it was measured and reached.
func (g Goal) Met() bool { return g.Cells > 0 && len(g.Misses) == 0 }

const (
	mostFalse = 0.01 // of healthy versions, taken back by Teal
	keepsTo   = 0.05 // false rollbacks in every healthy scenario, of a method that is worth comparing with
	soon      = 3    // seconds for zero to five percent
)

// inSequence says whether a method is Teal's in sequence.
func inSequence(method string) bool {
	return slices.ContainsFunc([]string{sequential, latencySequential, figureSequential}, func(name string) bool {
		return method == name || strings.HasPrefix(method, name+",")
	})
}

// kind of a scenario: methods of one are not put to another.
func kind(scenario string) string {
	if before, _, ok := strings.Cut(scenario, ": "); ok {
		return before
	}
	return "errors"
}

// missing says whether answers are missing in a scenario.
func missing(scenario string) bool {
	return strings.Contains(scenario, "metrics away") || strings.Contains(scenario, "samples lost")
}

// Goals are those of the issue that asked for these figures.
func Goals(cells []Cell) []Goal {
	few := Goal{Text: "at most 1 % of healthy versions are taken back, in every scenario"}
	none := Goal{Text: "none is taken back because answers are missing"}
	faster := Goal{Text: "bad versions are found sooner, half of them, than by each method that takes back 5 % at most in every healthy scenario of the kind"}
	five := Goal{Text: "0 → 5 % is found within 3 s, half of the time"}
	for _, c := range cells {
		if !inSequence(c.Method) {
			continue
		}
		if c.Healthy {
			few.look(c, float64(c.False) <= mostFalse*float64(c.Runs), share(c.False, c.Runs))
		}
		if c.Healthy && missing(c.Scenario) {
			none.look(c, c.False == 0, share(c.False, c.Runs))
		}
		if c.Scenario == "0 → 5 %" {
			five.look(c, c.P50 != never && c.P50 <= soon, seconds(c.P50))
		}
		if !c.Healthy {
			faster.race(c, cells)
		}
	}
	return []Goal{few, none, faster, five}
}

func (g *Goal) look(c Cell, ok bool, is string) {
	g.Cells++
	if !ok {
		g.Misses = append(g.Misses, fmt.Sprintf("%s, %s: %s", c.Scenario, c.Method, is))
	}
}

// race compares a cell with those of the other methods in the same scenario.
func (g *Goal) race(c Cell, cells []Cell) {
	for _, other := range cells {
		if other.Scenario != c.Scenario || inSequence(other.Method) || !keeps(other.Method, kind(c.Scenario), cells) {
			continue
		}
		// What neither finds is lost by neither.
		ok := other.P50 == never || c.P50 != never && c.P50 < other.P50
		g.look(c, ok, fmt.Sprintf("%s, and %s takes %s", seconds(c.P50), other.Method, seconds(other.P50)))
	}
}

// keeps says whether a method takes back few enough in all healthy scenarios of a kind.
func keeps(method, of string, cells []Cell) bool {
	measured := false
	for _, c := range cells {
		if c.Method == method && c.Healthy && kind(c.Scenario) == of {
			measured = true
			if float64(c.False) > keepsTo*float64(c.Runs) {
				return false
			}
		}
	}
	return measured
}

// tell prints goals, and the cells that miss them.
func tell(out io.Writer, goals []Goal) error {
	var text strings.Builder
	text.WriteString("\ngoals of judging in sequence\n")
	for _, g := range goals {
		word := "missed"
		switch {
		case g.Met():
			word = "met"
		case g.Cells == 0:
			word = "not measured"
		}
		fmt.Fprintf(&text, "  %s: %s (%d cells)\n", word, g.Text, g.Cells)
		for _, miss := range g.Misses {
			fmt.Fprintf(&text, "    %s\n", miss)
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// A goal is missed by the cells that miss it, and by no other.
func TestGoals(t *testing.T) {
	healthy := func(scenario, method string, taken int) Cell {
		return Cell{Scenario: scenario, Healthy: true, Method: method, Runs: 1000, False: taken, P50: never, P95: never}
	}
	bad := func(scenario, method string, p50 float64) Cell {
		return Cell{Scenario: scenario, Method: method, Runs: 1000, P50: p50, P95: p50}
	}
	cells := []Cell{
		healthy("steady", "careful", 50), healthy("steady", "hasty", 51), healthy("steady", sequential, 10),
		healthy("metrics away", "careful", 0), healthy("metrics away", sequential, 1),
		healthy("bursty", "careful", 0), healthy("bursty", sequential+", begun anew", 11),
		healthy("figure: steady", "careful", 60), healthy("figure: steady", figureSequential, 0),
		bad("0 → 5 %", "careful", 3), bad("0 → 5 %", "hasty", 1), bad("0 → 5 %", sequential, 2), bad("0 → 5 %", sequential+", begun anew", 4),
		bad("more", "careful", never), bad("more", sequential, never),
		bad("less", "careful", 900), bad("less", sequential, never),
		bad("figure: more", "careful", 1), bad("figure: more", figureSequential, 2),
	}
	var told strings.Builder
	if err := tell(&told, append(Goals(cells), Goals(nil)[0])); err != nil {
		t.Fatal(err)
	}
	const want = `
goals of judging in sequence
  missed: at most 1 % of healthy versions are taken back, in every scenario (4 cells)
    bursty, teal sequential, begun anew: 1.1 %
  missed: none is taken back because answers are missing (1 cells)
    metrics away, teal sequential: 0.1 %
  missed: bad versions are found sooner, half of them, than by each method that takes back 5 % at most in every healthy scenario of the kind (4 cells)
    0 → 5 %, teal sequential, begun anew: 4 s, and careful takes 3 s
    less, teal sequential: -, and careful takes 900 s
  missed: 0 → 5 % is found within 3 s, half of the time (2 cells)
    0 → 5 %, teal sequential, begun anew: 4 s
  not measured: at most 1 % of healthy versions are taken back, in every scenario (0 cells)
`
	if told.String() != want {
		t.Errorf("told:\n%s\nwant:\n%s", told.String(), want)
	}
	if g := Goals(cells[:3])[0]; !g.Met() {
		t.Errorf("missed: %+v", g)
	}
}
