package judge_test

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// Table prints what every method did, one block a scenario.
func Table(out io.Writer, cells []Cell) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	last := ""
	for _, c := range cells {
		if c.Scenario != last {
			last = c.Scenario
			kind := "bad"
			if c.Healthy {
				kind = "healthy"
			}
			fmt.Fprintf(w, "\n%s (%s, %d runs)\tfalse\tmissed\tp50\tp95\n", c.Scenario, kind, c.Runs)
		}
		missed := "-"
		if !c.Healthy {
			missed = share(c.Missed, c.Runs)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", c.Method, share(c.False, c.Runs), missed, seconds(c.P50), seconds(c.P95))
	}
	return w.Flush()
}

func share(n, of int) string {
	return strconv.FormatFloat(100*float64(n)/float64(of), 'f', 1, 64) + " %"
}

func seconds(s float64) string {
	if s == never {
		return "-"
	}
	return strconv.FormatFloat(s, 'f', 0, 64) + " s"
}
