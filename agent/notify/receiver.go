package notify

import (
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Sender tells one notice to one place. Its error is fit to be shown: it holds no
// secret.
type Sender interface {
	Send(ctx context.Context, n Notice) error
}

// Receiver is a notify block: who is told what.
type Receiver struct {
	Kind string
	Name string

	Events   []string // empty: all
	Services []string // patterns of names; empty: all
	Severity Severity // the least that matters
	Timeout  time.Duration
	GiveUp   time.Duration // how long a notice is tried

	Sender Sender
	// incidents says that only incidents are told, and their ends always.
	incidents bool
}

// Wants says whether a notice is for this receiver.
func (r Receiver) Wants(n Notice) bool {
	if len(r.Services) > 0 && !slices.ContainsFunc(r.Services, func(pattern string) bool {
		ok, _ := path.Match(pattern, n.Service) // checked when it was read
		return ok
	}) {
		return false
	}
	if r.incidents && n.Incident == NoIncident {
		return false
	}
	if r.incidents && n.Ends {
		return len(r.Events) == 0 || slices.ContainsFunc(r.Events, func(e string) bool { return incidents[Event(e)].what == n.Incident })
	}
	return n.Severity.rank() >= r.Severity.rank() && (len(r.Events) == 0 || slices.Contains(r.Events, string(n.Event)))
}

// kind is a way to tell: what its block holds, and whether it keeps incidents.
type kind struct {
	incidents bool
	declare   func(d *hclbody.Decoder, dir string) (check func() Sender)
}

// kinds are the receivers that a config may name.
var kinds = map[string]kind{
	"shoutrrr":     {false, declareShoutrrr},
	"webhook":      {false, declareWebhook},
	"pagerduty":    {true, declarePagerDuty},
	"alertmanager": {true, declareAlertmanager},
}

// Kinds lists their names.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

var receiverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Decode reads a `notify "<kind>" "<name>"` block.
func Decode(block *hcl.Block, eval *hcl.EvalContext) (Receiver, hcl.Diagnostics) {
	r := Receiver{Kind: block.Labels[0], Name: block.Labels[1], Timeout: 10 * time.Second, GiveUp: time.Hour}
	k, ok := kinds[r.Kind]
	if !ok {
		return r, hcl.Diagnostics{hclbody.Unknown("receiver of notices", r.Kind, Kinds(), nil, block.LabelRanges[0])}
	}
	r.incidents = k.incidents
	severity := string(Info)
	if k.incidents {
		severity = string(Warning)
	}
	d := hclbody.New(fmt.Sprintf("notify %q", r.Kind), eval)
	d.Strings("events", &r.Events, hclbody.NotEmpty)
	d.Strings("services", &r.Services, hclbody.NotEmpty)
	d.String("severity", &severity, hclbody.OneOf(severities...))
	d.Duration("timeout", &r.Timeout)
	d.Duration("give_up", &r.GiveUp)
	check := k.declare(d, filepath.Dir(block.DefRange.Filename))
	d.Decode(block.Body)
	r.Severity = Severity(severity)
	r.Sender = check()
	r.check(d, block)
	return r, d.Diagnostics()
}

func (r Receiver) check(d *hclbody.Decoder, block *hcl.Block) {
	if !receiverName.MatchString(r.Name) {
		d.Append(hcl.Diagnostics{{
			Severity: hcl.DiagError, Summary: "Wrong name of a receiver",
			Detail:  fmt.Sprintf("%q cannot name a receiver: letters, digits, dots, dashes and underscores are allowed, and no more than 63 of them.", r.Name),
			Subject: block.LabelRanges[1].Ptr(),
		}})
	}
	for _, e := range r.Events {
		switch _, known := words[Event(e)]; {
		case !known:
			unknown := hclbody.Unknown("event", e, Events(), nil, d.Range("events"))
			d.Append(hcl.Diagnostics{unknown})
		case r.incidents && incidents[Event(e)].what == NoIncident:
			d.Errorf("events", "Event is no incident", "%q neither begins nor ends an incident, so %s would never be told of it.", e, r.Kind)
		}
	}
	for _, pattern := range r.Services {
		if _, err := path.Match(pattern, ""); err != nil {
			d.Errorf("services", "Wrong pattern", "%q is no pattern of names; it looks like \"billing-*\".", pattern)
		}
	}
	if r.Timeout > time.Minute {
		d.Errorf("timeout", "Wrong timeout", "%s is too long; a receiver that takes more than 1m is away.", r.Timeout)
	}
	if r.GiveUp < r.Timeout {
		d.Errorf("give_up", "Wrong value for give_up", "%s is less than the timeout of one try, %s.", r.GiveUp, r.Timeout)
	}
}
