package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kinds are the ways in which the app can be told to misbehave.
var kinds = []string{"none", "errors", "slow", "unhealthy", "exit"}

// Fault is one misbehaviour.
//
//   - none: behave
//   - errors: answer a share of the ordinary requests with status 500
//   - slow: answer a share of them late
//   - unhealthy: serve, but fail the health check
//   - exit: end the process with status 1
type Fault struct {
	Kind  string
	Rate  float64       // share of ordinary requests hit by errors and slow, above 0 up to 1
	Delay time.Duration // how late a slow answer is
	After int64         // ordinary requests answered before the fault begins
}

// ParseFault reads "kind" or "kind:rate", such as "errors:0.3". No rate means
// every request; an empty string means no fault.
func ParseFault(s string) (Fault, error) {
	kind, rate, hasRate := strings.Cut(s, ":")
	if kind == "" && !hasRate {
		kind = "none"
	}
	f := Fault{Kind: kind, Rate: 1, Delay: 500 * time.Millisecond}
	if !slices.Contains(kinds, kind) {
		return Fault{}, fmt.Errorf("unknown kind %q: expected one of %s", kind, strings.Join(kinds, ", "))
	}
	if hasRate {
		n, err := strconv.ParseFloat(rate, 64)
		if err != nil || !(n > 0 && n <= 1) {
			return Fault{}, fmt.Errorf("rate %q: expected a share above 0 and up to 1", rate)
		}
		f.Rate = n
	}
	return f, nil
}

// hits tells whether the nth request of the fault's life is one of its share.
// It spreads them evenly instead of drawing lots, so that a rate of 0.3 is
// three in every ten requests in each run of a test.
func (f Fault) hits(n int64) bool {
	return int64(float64(n)*f.Rate) > int64(float64(n-1)*f.Rate)
}
