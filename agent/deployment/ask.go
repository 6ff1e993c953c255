package deployment

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ask is whose consent a release waits for, and what has come of it so far.
// Whoever may write an approver's key is that approver.
type Ask struct {
	Quorum    int      `json:"quorum"` // how many of the approvers it takes
	Approvers []string `json:"approvers"`
	// After is Consul's index at the time the release began to wait: a key that
	// was written before is no consent to it.
	After uint64 `json:"after"`
	// Consents are what the approvers' keys hold, at most one of each approver.
	Consents []Consent `json:"consents,omitempty"`
}

// Consent is what one approver's key holds.
type Consent struct {
	By    string    `json:"by"`
	At    time.Time `json:"at"` // when the leading agent saw it
	Proof string    `json:"proof,omitempty"`
	Index uint64    `json:"index"` // the key's ModifyIndex
	Why   string    `json:"why,omitempty"`
	// Void says why it does not count; empty: it does.
	Void string `json:"void,omitempty"`
}

// Of is what an approver's key held when last looked at.
func (a Ask) Of(who string) (Consent, bool) {
	i := slices.IndexFunc(a.Consents, func(c Consent) bool { return c.By == who })
	if i < 0 {
		return Consent{}, false
	}
	return a.Consents[i], true
}

// With is the same with another consent, in place of its giver's earlier one.
func (a Ask) With(c Consent) Ask {
	a = a.Without(c.By)
	a.Consents = append(a.Consents, c)
	return a
}

// Without is the same without one approver's consent.
func (a Ask) Without(who string) Ask {
	a.Consents = slices.DeleteFunc(slices.Clone(a.Consents), func(c Consent) bool { return c.By == who })
	return a
}

// Counted are the consents that count, as they came.
func (a Ask) Counted() []Consent {
	var out []Consent
	for _, c := range a.Consents {
		if c.Void == "" && slices.Contains(a.Approvers, c.By) {
			out = append(out, c)
		}
	}
	return out
}

// Met says whether the quorum has consented.
func (a Ask) Met() bool { return a.Quorum > 0 && len(a.Counted()) >= a.Quorum }

// Givers are the names of those who gave consents.
func Givers(consents []Consent) string {
	names := make([]string, len(consents))
	for i, c := range consents {
		names[i] = c.By
	}
	return strings.Join(names, ", ")
}

// Words say how far it has come: "1 of 2 approvals: alice; waits for bob or
// carol". Why some do not count follows.
func (a Ask) Words() string {
	counted := a.Counted()
	text := fmt.Sprintf("%d of %d approvals", len(counted), a.Quorum)
	if len(counted) > 0 {
		text += ": " + Givers(counted)
	}
	if !a.Met() {
		text += "; waits for " + a.missing()
	}
	for _, c := range a.Consents {
		if c.Void != "" {
			text += fmt.Sprintf("; what %s gave does not count: %s", c.By, c.Void)
		}
	}
	return text
}

// Wanted says whose consent it takes: "alice", "2 of alice, bob and carol".
func (a Ask) Wanted() string { return fewOf(a.Quorum, a.Approvers) }

// missing says whose consent it still takes.
func (a Ask) missing() string {
	counted := a.Counted()
	left := slices.DeleteFunc(slices.Clone(a.Approvers), func(who string) bool {
		return slices.ContainsFunc(counted, func(c Consent) bool { return c.By == who })
	})
	return fewOf(a.Quorum-len(counted), left)
}

func fewOf(n int, names []string) string {
	switch {
	case n >= len(names):
		return listed(names, "and")
	case n == 1:
		return listed(names, "or")
	}
	return fmt.Sprintf("%d of %s", n, listed(names, "and"))
}

func listed(names []string, word string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}

// unsound says what in it no agent can have written.
func (a *Ask) unsound() string {
	if a == nil {
		return ""
	}
	if a.Quorum < 1 || a.Quorum > len(a.Approvers) {
		return fmt.Sprintf("it waits for %d of %d approvers", a.Quorum, len(a.Approvers))
	}
	seen := map[string]bool{}
	for _, c := range a.Consents {
		if seen[c.By] {
			return fmt.Sprintf("%q consents twice", c.By)
		}
		seen[c.By] = true
	}
	return ""
}

// consenting takes an event about one approver's key.
func consenting(s *Service, ev Event) error {
	if !s.InFlight() || s.Deployment.State != Approving || s.Deployment.Ask == nil {
		return fmt.Errorf("%w: no approver is asked", ErrTransition)
	}
	ask := *s.Deployment.Ask
	switch {
	case ev.Kind == Withdraw:
		ask = ask.Without(ev.By)
	case ev.Consent == nil || !slices.Contains(ask.Approvers, ev.Consent.By):
		return fmt.Errorf("%w: it is not an approver's", ErrTransition)
	default:
		c := *ev.Consent
		c.Proof, c.Why, c.Void = cut(c.Proof, maxWords), cut(c.Why, maxWords), cut(c.Void, maxWords)
		if c.Void == "" && c.Proof != s.Deployment.Candidate.Proof() {
			return fmt.Errorf("%w: the consent is for %s, and what waits is %s", ErrTransition, c.Proof, s.Deployment.Candidate.Proof())
		}
		ask = ask.With(c)
	}
	s.Deployment.Ask = &ask
	s.log(ev)
	return nil
}
