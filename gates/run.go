package gates

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/redact"
)

// ErrChanged says that the candidate became another one while its gates ran:
// what was found so far is void.
var ErrChanged = errors.New("the candidate changed while its gates ran")

// Progress is one gate's standing after a look.
type Progress struct {
	Kind, Name string
	Verdict    Verdict // Hold until the gate is decided, then Pass or Fail
	Reason     string  // what the last look saw; bounded
	Figures    map[string]string
	Attempts   int // looks made
	Failures   int // of them failed; Named.Attempts of them fail the gate
	At         time.Time
	Hash       string // Target.Hash the look was made for
}

// Outcome is what a run of gates ended with.
type Outcome struct {
	Verdict Verdict
	// Gate is the index of the gate that decided; -1 when all passed.
	Gate   int
	Reason string
	Hash   string // the candidate that was judged
	// Gates holds the last progress of every gate that was looked at.
	Gates []Progress
}

// Run drives gates in the order declared, those of a parallel group side by
// side, until all have passed, one has failed or one could not be judged within
// its deadline; Hold is the verdict then, and Run may be called again. In a
// group a failure ends the others' looks at once; one that could not be judged
// lets the others come to their end first, as one of them may fail.
//
// Before each look target says what the candidate is now; an error of it, or
// of the gate, means that nobody could ask, and is neither a pass nor a
// failure. A look that has begun is left alone until its timeout, even if the
// instances move meanwhile. Progress, which may be nil, is told after each
// look, from Run's own goroutine. Target is asked by several goroutines where
// there are groups.
//
// The error is ErrChanged or the context's; no verdict is valid then.
func Run(ctx context.Context, gates []Named, target func(context.Context) (Target, error), progress func(i int, p Progress)) (Outcome, error) {
	if progress == nil {
		progress = func(int, Progress) {}
	}
	r := run{target: target, progress: progress}
	out := Outcome{Gate: -1, Verdict: Pass, Reason: "no gate is declared"}
	for at := 0; at < len(gates); {
		end := at + together(gates[at:])
		decided, err := r.side(ctx, gates[at:end], at)
		for _, p := range decided {
			if p.Attempts > 0 {
				out.Gates = append(out.Gates, p)
			}
		}
		if err != nil {
			return Outcome{Gate: at, Gates: out.Gates}, err
		}
		out.Hash = r.hash
		if i := worst(decided); decided[i].Verdict != Pass {
			gate, last := gates[at+i], decided[i]
			out.Verdict, out.Gate = last.Verdict, at+i
			out.Reason = fmt.Sprintf("gate %s %q: %s", gate.Kind, gate.Name, last.Reason)
			return out, nil
		}
		out.Reason = fmt.Sprintf("%d of %d gates passed", end, len(gates))
		at = end
	}
	return out, nil
}

// together is how many gates, from the first, are looked at side by side.
func together(gates []Named) int {
	n := 1
	for n < len(gates) && gates[0].Parallel != 0 && gates[n].Parallel == gates[0].Parallel {
		n++
	}
	return n
}

// worst is the gate that decides for its group: one that failed, else one that
// could not be judged, the first of those.
func worst(group []Progress) int {
	at := 0
	for i, p := range group {
		if rank(p.Verdict) > rank(group[at].Verdict) {
			at = i
		}
	}
	return at
}

func rank(v Verdict) int {
	switch v {
	case Pass:
		return 0
	case Fail:
		return 2
	}
	return 1
}

// errFailed ends a group once one of its gates has failed.
var errFailed = errors.New("another gate of the group has failed")

// side looks at neighbours side by side until each is decided or one has
// failed. Who was cut short is left as its last look had it.
func (r *run) side(ctx context.Context, group []Named, first int) ([]Progress, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type news struct {
		i    int
		p    Progress
		last bool
		err  error
	}
	told := make(chan news)
	for i, gate := range group {
		go func() {
			last, err := r.gate(ctx, gate.withDefaults(), func(p Progress) { told <- news{i: i, p: p} })
			told <- news{i: i, p: last, last: true, err: err}
		}()
	}
	latest := make([]Progress, len(group))
	var broken error
	for running := len(group); running > 0; {
		n := <-told
		if !n.last {
			r.progress(first+n.i, n.p)
			continue
		}
		running--
		latest[n.i] = n.p
		switch {
		case n.err != nil && broken == nil && !errors.Is(n.err, errFailed):
			broken = n.err
			cancel(n.err)
		case n.p.Verdict == Fail:
			cancel(errFailed)
		}
	}
	return latest, broken
}

type run struct {
	target   func(context.Context) (Target, error)
	progress func(int, Progress)

	mu   sync.Mutex
	hash string
	seen bool // hash is set
}

// gate looks until the gate is decided or its deadline has come.
func (r *run) gate(ctx context.Context, n Named, progress func(Progress)) (Progress, error) {
	deadline := time.Now().Add(n.Deadline)
	p := Progress{Kind: n.Kind, Name: n.Name}
	for {
		finding, err := r.look(ctx, n, func(reason string) {
			now := p
			now.At, now.Hash, now.Reason = time.Now(), r.bound(), redact.Cut(redact.Line(reason), maxReason)
			progress(now)
		})
		if err != nil {
			return p, err
		}
		p.Attempts++
		p.At, p.Hash = time.Now(), r.bound()
		p.Reason, p.Figures = redact.Cut(redact.Line(finding.Reason), maxReason), bounded(finding.Figures)
		switch finding.Verdict {
		case Pass:
			p.Verdict = Pass
		case Fail:
			p.Failures++
			if p.Failures >= n.Attempts {
				p.Verdict = Fail
			}
		}
		if p.Verdict == Hold && !time.Now().Before(deadline) {
			p = expire(p, n, finding.Verdict)
		}
		progress(p)
		if p.Verdict != Hold || !time.Now().Before(deadline) {
			return p, nil
		}

		if err := wait(ctx, min(n.Interval, time.Until(deadline))); err != nil {
			return p, err
		}
		if !time.Now().Before(deadline) {
			p = expire(p, n, finding.Verdict)
			progress(p)
			return p, nil
		}
	}
}

// expire is what a gate becomes at its deadline, by what its last look found.
func expire(p Progress, n Named, last Verdict) Progress {
	if last == Fail {
		p.Verdict = Fail
		p.Reason = redact.Cut(fmt.Sprintf("not passed within %s: %s", n.Deadline, p.Reason), maxReason)
		return p
	}
	p.Reason = redact.Cut(fmt.Sprintf("could not be judged within %s: %s", n.Deadline, p.Reason), maxReason)
	return p
}

// look refreshes the target and asks the gate once. Both get the whole timeout,
// so that a slow Consul does not make an instance look slow. The error ends
// the run; that nobody could ask is a finding.
func (r *run) look(ctx context.Context, n Named, say func(string)) (Finding, error) {
	asking, cancel := context.WithTimeout(ctx, n.Timeout)
	target, err := r.target(asking)
	cancel()
	if ctx.Err() != nil {
		return Finding{}, context.Cause(ctx)
	}
	if err != nil {
		return Finding{Reason: fmt.Sprintf("could not see the candidate: %s", err)}, nil
	}
	if !r.bind(target.Hash) {
		return Finding{}, ErrChanged
	}

	target.Gate, target.Say = n.Name, say
	looking, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	finding, err := n.Gate.Check(looking, target)
	if ctx.Err() != nil { // what an interrupted look says is no evidence
		return Finding{}, context.Cause(ctx)
	}
	if err != nil {
		return Finding{Reason: fmt.Sprintf("could not ask: %s", err), Figures: finding.Figures}, nil
	}
	return finding, nil
}

// bind says whether the candidate still is the one that was looked at first.
func (r *run) bind(hash string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen && r.hash != hash {
		return false
	}
	r.hash, r.seen = hash, true
	return true
}

func (r *run) bound() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hash
}

// withDefaults fills what a gate made without DecodeNamed left out.
func (n Named) withDefaults() Named {
	if n.Attempts < 1 {
		n.Attempts = DefaultAttempts
	}
	if n.Interval <= 0 {
		n.Interval = DefaultInterval
	}
	if n.Timeout <= 0 {
		n.Timeout = DefaultTimeout
	}
	if n.Deadline <= 0 {
		n.Deadline = DefaultDeadline
	}
	return n
}

// wait is the pause between two looks.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
