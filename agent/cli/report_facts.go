package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// report is a release as a report tells it; -format json prints it as it is.
// It holds no more than the record does, which is bounded.
type report struct {
	Service     string `json:"service"`
	Deployment  string `json:"deployment"`
	Version     string `json:"version"`
	FromVersion string `json:"from_version,omitempty"`
	From        string `json:"from"`
	To          string `json:"to"`
	By          string `json:"by"`

	State   string `json:"state"`             // done, or where it is
	Outcome string `json:"outcome,omitempty"` // empty: in flight
	Reason  string `json:"reason,omitempty"`
	// Waits is the pause or hold that a release in flight stands at.
	Waits   *deployment.Flag `json:"waits,omitempty"`
	Started time.Time        `json:"started"`
	Ended   *time.Time       `json:"ended,omitempty"`
	Seconds float64          `json:"seconds"` // it took, or has taken until AsOf
	AsOf    time.Time        `json:"as_of"`
	took    time.Duration

	Hash   string `json:"hash"`   // of the jobspec
	Policy string `json:"policy"` // hash of the policy it was judged by

	Gates    []deployment.GateRecord `json:"gates"`
	Ask      *deployment.Ask         `json:"ask,omitempty"` // named approvers that have not approved, or not yet
	Approval *deployment.Approval    `json:"approval,omitempty"`
	Forced   *deployment.Flag        `json:"forced,omitempty"`
	Weakened string                  `json:"weakened,omitempty"`
	Cutover  *reportedMove           `json:"cutover,omitempty"`
	Rollback *reportedMove           `json:"rollback,omitempty"`
	Verdicts []deployment.Verdict    `json:"verdicts"`
	Lost     *lost                   `json:"lost,omitempty"` // nil: nobody counted
	Notes    []deployment.Entry      `json:"notes"`
}

// reportedMove is a move of traffic with its durations worked out.
type reportedMove struct {
	deployment.Move
	WriteMS  *float64 `json:"write_ms,omitempty"`  // decision to Consul's acknowledgement
	VerifyMS *float64 `json:"verify_ms,omitempty"` // decision to read back
	DetectMS *float64 `json:"detect_ms,omitempty"` // first bad observation to decision
}

// lost is what the triggers' own figures tell of failed requests: those of the
// last look, hence a lower bound.
type lost struct {
	AtLeast  float64 `json:"at_least"`
	Requests float64 `json:"of_requests"`
	Trigger  string  `json:"counted_by"`
}

func newReport(d deployment.Deployment, now time.Time) report {
	r := report{
		Service: d.Service, Deployment: d.ID, Version: version(d.Candidate), FromVersion: d.FromVersion,
		From: d.From.String(), To: d.To.String(), By: d.Candidate.By,
		State: string(d.State), Outcome: string(d.Outcome), Reason: d.Reason, Started: d.Started.UTC(), AsOf: now.UTC(),
		Hash: d.Candidate.Hash, Policy: d.Candidate.Policy,
		Gates: d.Gates, Ask: d.Ask, Approval: d.Approval, Forced: d.Forced, Weakened: d.Weakened,
		Cutover: reported(d.Cutover), Rollback: reported(d.Rollback),
		Verdicts: d.Verdicts, Notes: d.Log,
	}
	until := now
	if !d.Ended.IsZero() {
		until = d.Ended.UTC()
		r.Ended = &until
	}
	r.took = max(0, until.Sub(d.Started).Round(time.Millisecond))
	r.Seconds = r.took.Seconds()
	if r.Gates == nil {
		r.Gates = []deployment.GateRecord{}
	}
	if r.Verdicts == nil {
		r.Verdicts = []deployment.Verdict{}
	}
	if r.Notes == nil {
		r.Notes = []deployment.Entry{}
	}
	r.Lost = lostBy(d.Verdicts)
	return r
}

func reported(m *deployment.Move) *reportedMove {
	if m == nil {
		return nil
	}
	since := func(from, to time.Time) *float64 {
		if from.IsZero() || to.IsZero() {
			return nil
		}
		ms := float64(max(0, to.Sub(from)).Microseconds()) / 1000
		return &ms
	}
	return &reportedMove{Move: *m, WriteMS: since(m.Decided, m.Written), VerifyMS: since(m.Decided, m.Verified), DetectMS: since(m.Detected, m.Decided)}
}

// lostBy finds the largest count of failed requests among the verdicts. A bad
// verdict has its trigger's figures by their bare names, a good one everybody's
// after the trigger's name and a dot.
func lostBy(verdicts []deployment.Verdict) *lost {
	var most *lost
	for _, v := range verdicts {
		for _, key := range sortedKeys(v.Figures) {
			prefix, ok := strings.CutSuffix(key, "errors")
			if !ok || prefix != "" && !strings.HasSuffix(prefix, ".") {
				continue
			}
			failed, err := strconv.ParseFloat(v.Figures[key], 64)
			all, err2 := strconv.ParseFloat(v.Figures[prefix+"requests"], 64)
			if err != nil || err2 != nil || !counted(failed) || !counted(all) {
				continue
			}
			if most == nil || failed > most.AtLeast {
				by := strings.TrimSuffix(prefix, ".")
				if by == "" {
					by, _, _ = strings.Cut(strings.TrimPrefix(v.Reason, "trigger "), ":")
				}
				most = &lost{failed, all, by}
			}
		}
	}
	return most
}

// counted says whether a number can be one of requests.
func counted(n float64) bool { return n >= 0 && n <= math.MaxFloat64 }

// words tells how many requests were lost.
func (l *lost) words() string {
	if l == nil {
		return "not known: no trigger counted requests"
	}
	if l.AtLeast == 0 {
		return fmt.Sprintf("none that trigger %s counted, of the last %s", l.Trigger, count(l.Requests))
	}
	return fmt.Sprintf("at least %s of %s, as trigger %s counted them in its last window", count(l.AtLeast), count(l.Requests), l.Trigger)
}

func count(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
