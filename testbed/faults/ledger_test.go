package faults

import (
	"strings"
	"testing"
	"time"
)

// Each thing that must not happen is seen where it happened, and only there.
func TestLedger(t *testing.T) {
	for _, x := range []struct {
		name, lines string
		want        Ledger
	}{
		{"a handover", "10 blue 5 1\n20 blue 5 2\n30 blue 5 1\n50 green 7 3\n60 green 7 3",
			Ledger{Handovers: 1, Ticks: 5, MaxGap: 20}},
		{"lines out of order are put in order", "50 green 7 3\n30 blue 5 1\n10 blue 5 1",
			Ledger{Handovers: 1, Ticks: 3, MaxGap: 20}},
		{"one worker is late to stop", "10 blue 5 1\n11 blue 5 2\n20 green 7 3\n30 green 7 3\n35 blue 5 2",
			Ledger{Handovers: 2, Overlaps: 1, TokenRegressions: 1, Ticks: 5, MaxGap: 10}},
		{"between two lines of another's", "10 blue 5 1\n20 green 5 3\n30 blue 5 1",
			Ledger{Handovers: 2, Overlaps: 1, Ticks: 3, MaxGap: 10}},
		{"a worker that never saw the new token", "10 blue 5 1\n20 green 7 3\n30 blue 6 4",
			Ledger{Handovers: 2, TokenRegressions: 1, Ticks: 3, MaxGap: 10}},
		{"back and forth", "10 blue 5 1\n20 green 7 3\n30 blue 9 4\n31 blue 9 5\n40 green 11 6",
			Ledger{Handovers: 3, Ticks: 5, MaxGap: 10}},
		{"ten of a colour side by side", "10 blue 5 1\n10 blue 5 2\n11 blue 5 3\n20 blue 5 1\n20 blue 5 2",
			Ledger{Ticks: 5, MaxGap: 9}},
	} {
		ticks, err := readTicks(strings.NewReader(x.lines))
		if err != nil {
			t.Fatal(err)
		}
		if got := judge(ticks); got != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
	}
	if _, err := readTicks(strings.NewReader("10 blue five 1")); err == nil {
		t.Error("a line that says nothing was read")
	}
}

func TestPercentiles(t *testing.T) {
	var all []time.Duration
	for i := range 20 {
		all = append(all, time.Duration(20-i)*time.Millisecond)
	}
	if got := percentiles(all); got != (Percentiles{Samples: 20, P50: 10, P95: 19, Max: 20}) {
		t.Errorf("%+v", got)
	}
}
