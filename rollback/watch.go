package rollback

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Decision is what all triggers of a watch say together.
type Decision struct {
	Verdict Verdict
	// Trigger names the one that is bad, or has not known for too long. Otherwise
	// it is empty.
	Trigger string
	Reason  string
	// Figures are those of the bad trigger; otherwise everyone's, each with its
	// trigger's name and a dot before it.
	Figures map[string]float64
	// Hold says that the policy wants a person to look: a trigger has not known for
	// too long.
	Hold bool
	// Doubt says that what a trigger saw speaks against the colour, and is no proof
	// yet: a watch goes on until it is, or is outweighed.
	Doubt bool
}

// Watch follows the active colour for a time with a set of triggers. It is used
// by one goroutine.
type Watch struct {
	judged   []judged
	patience Patience
}

// judged is a trigger at work.
type judged struct {
	name    string
	kind    string
	judge   Judge
	wasFine bool
	unable  string    // why it cannot tell at present; empty if it can
	since   time.Time // it has not known; zero if it does
	fine    time.Time // since when it has said so without a break
	before  float64   // requests that it had looked at by then
}

// NewWatch starts judging by the given triggers. Consul's health is always
// among them: what serves nobody has to be seen in every watch, and in the
// soak, whatever the policy declares.
func NewWatch(triggers []Named) *Watch {
	w := &Watch{}
	for _, t := range triggers {
		w.judged = append(w.judged, judged{name: t.Name, kind: t.Kind, judge: t.Trigger.Begin()})
	}
	if !slices.ContainsFunc(triggers, func(t Named) bool { return t.Kind == HealthKind }) {
		name := HealthKind
		if slices.ContainsFunc(triggers, func(t Named) bool { return t.Name == name }) {
			name = "built-in " + HealthKind
		}
		w.judged = append(w.judged, judged{name: name, kind: HealthKind, judge: DefaultHealth().Begin()})
	}
	return w
}

// Prepare takes what is seen before the cutover: the previous colour is still
// the one that serves, and what it is like is what the new one is compared with.
// Nothing has to be prepared; but then the judgement is slower.
func (w *Watch) Prepare(o Observation) {
	for _, t := range w.judged {
		if c, ok := t.judge.(Comparing); ok {
			o.Answer = o.answerTo(t.name)
			c.Prepare(o)
		}
	}
}

// answerTo is a new answer to a trigger's question; nil if there is none.
func (o Observation) answerTo(trigger string) *Answer {
	if a, ok := o.Answers[trigger]; ok {
		return &a
	}
	return nil
}

// Past is what was learned of the previous colour, by trigger.
func (w *Watch) Past() map[string]Past {
	out := map[string]Past{}
	for _, t := range w.judged {
		if c, ok := t.judge.(Comparing); ok {
			out[t.name] = c.Past()
		}
	}
	return out
}

// Learned is what was learned of the active colour, by trigger. Once it is the
// previous one, a watch that recalls this before anything is prepared knows more
// of it than a last look before the cutover can tell.
func (w *Watch) Learned() map[string]Past {
	out := map[string]Past{}
	for _, t := range w.judged {
		if l, ok := t.judge.(Learning); ok {
			if p := l.Learned(); p.Spread.Fine.N > 0 {
				out[t.name] = p
			}
		}
	}
	return out
}

// Recall takes up what an earlier watch, or the preparation of this one, has
// learned.
func (w *Watch) Recall(past map[string]Past) {
	for _, t := range w.judged {
		if c, ok := t.judge.(Comparing); ok {
			if p, ok := past[t.name]; ok {
				c.Recall(p)
			}
		}
	}
}

// Observe takes the next observation and decides. One bad trigger is enough,
// and the first in the order of the policy is named; all is well only when all
// triggers say so; and whatever lies between changes nothing.
func (w *Watch) Observe(o Observation) Decision {
	var bad, blind *Decision
	all := Decision{Verdict: Fine, Figures: map[string]float64{}}
	var fine, unknown []string
	for i := range w.judged {
		t := &w.judged[i]
		o.Answer = o.answerTo(t.name)
		j := t.judge.Observe(o) // every one sees every observation, whatever the others say
		switch j.Verdict {
		case Bad:
			if bad == nil {
				bad = &Decision{Verdict: Bad, Trigger: t.name, Reason: j.Reason, Figures: j.Figures}
			}
		case Fine:
			t.wasFine = true
			fine = append(fine, fmt.Sprintf("%s: %s", t.name, j.Reason))
		default:
			all.Verdict = Unknown
			unknown = append(unknown, fmt.Sprintf("%s: %s", t.name, j.Reason))
		}
		all.Doubt = all.Doubt || j.Doubt
		if t.unable = ""; j.Verdict == Unknown && !(j.Tolerated && t.wasFine) {
			t.unable = j.Reason
		}
		t.note(j.Verdict, o.At)
		if d := w.impatient(t, j, t.blind(j.Verdict, o.At)); d != nil && blind == nil {
			blind = d
		}
		for key, value := range j.Figures {
			all.Figures[t.name+"."+key] = value
		}
	}
	switch {
	case bad != nil:
		return *bad
	case blind != nil:
		return *blind
	}
	all.Reason = strings.Join(fine, "; ")
	if all.Verdict == Unknown {
		all.Reason = strings.Join(unknown, "; ")
	}
	return all
}

// Unable is a trigger that cannot tell how the colour fares.
type Unable struct {
	Trigger string
	Reason  string
	Never   bool // it has not once said that all is well
}

// Unable are the triggers that could not tell at the last look, in the order of the
// policy. A watch must not end well while there is one: sight of an earlier second
// proves nothing of what came after it.
//
// Who saw enough and sees that nobody comes any more is none of them: see the
// triggers that count requests.
func (w *Watch) Unable() []Unable {
	var list []Unable
	for _, t := range w.judged {
		if t.unable != "" {
			list = append(list, Unable{t.name, t.unable, !t.wasFine})
		}
	}
	return list
}
