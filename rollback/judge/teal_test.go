package judge_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// look is what the agent sees at one moment: the instances of both colours, and
// the answers of their metrics endpoints.
type look struct {
	at       time.Time
	active   []deployment.Instance
	scrapes  []rollback.Scrape
	previous []deployment.Instance
	before   []rollback.Scrape
}

// teal is the product's own watch, with one trigger as a policy has it.
type teal struct {
	watch    *rollback.Watch
	prepared bool
	// triggers judged the previous colour too, in its own watch; nil if it had none.
	triggers []rollback.Named
	first    *rollback.Watch
}

// began lets the agent watch the previous colour after its own cutover; it is kept,
// whatever is found.
func (t *teal) began(l look) {
	if t.triggers == nil {
		return
	}
	if t.first == nil {
		t.first = rollback.NewWatch(t.triggers)
	}
	t.first.Observe(rollback.Observation{
		At: l.at, Active: l.previous, Expected: len(l.previous),
		Scrapes: map[string][]rollback.Scrape{"/metrics": l.before},
	})
}

// learned hands on what was learned of it.
func (t *teal) learned() {
	if t.first != nil {
		t.watch.Recall(t.first.Learned())
		t.first = nil
	}
}

// declared reads the body of a trigger, once for all watches.
func declared(kind, body string) ([]rollback.Named, error) {
	file, diags := hclsyntax.ParseConfig([]byte(fmt.Sprintf("trigger %q \"judged\" {\n%s\n}", kind, body)), "watch.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "trigger", LabelNames: []string{"kind", "name"}}}})
	if diags.HasErrors() {
		return nil, diags
	}
	named, diags := rollback.DecodeNamed(content.Blocks[0], nil)
	if diags.HasErrors() {
		return nil, diags
	}
	return []rollback.Named{named}, nil
}

func (t *teal) baseline([]second) {}

// prepare lets the agent look at the previous colour while it serves.
func (t *teal) prepare(l look) {
	t.learned()
	if t.prepared {
		t.watch.Prepare(rollback.Observation{At: l.at, Previous: l.previous, PreviousScrapes: map[string][]rollback.Scrape{"/metrics": l.before}})
	}
}

func (t *teal) bad(_ int, _ []second, l look) bool {
	o := rollback.Observation{
		At: l.at, Active: l.active, Previous: l.previous, Expected: len(l.active),
		Scrapes: map[string][]rollback.Scrape{"/metrics": l.scrapes},
	}
	if l.before != nil {
		o.PreviousScrapes = map[string][]rollback.Scrape{"/metrics": l.before}
	}
	return t.watch.Observe(o).Verdict == rollback.Bad
}

var (
	good    = map[string]string{"code": "200", "method": "GET"}
	failed  = map[string]string{"code": "500", "method": "GET"}
	errLost = errors.New("no whole answer within 1s")
)

// colour is a colour's instances in Consul.
func colour(name string, n int) []deployment.Instance {
	var out []deployment.Instance
	for i := range n {
		out = append(out, deployment.Instance{ID: fmt.Sprintf("%s-%d", name, i), Node: "n", Health: deployment.Passing})
	}
	return out
}

// answers are what the instances' endpoints say; unread lists those that do
// not answer.
func answers(at time.Time, instances []deployment.Instance, count []tally, unread []int) []rollback.Scrape {
	out := make([]rollback.Scrape, len(instances))
	for i, instance := range instances {
		out[i] = rollback.Scrape{Instance: instance.ID, At: at}
		if slices.Contains(unread, i) {
			out[i].Err = errLost
			continue
		}
		out[i].Families = map[string]rollback.Family{"http_requests_total": {
			{Labels: good, Value: float64(count[i].requests - count[i].errors)},
			{Labels: failed, Value: float64(count[i].errors)},
		}}
		if count[i].took != (durations{}) {
			out[i].Families["http_request_duration_seconds_bucket"] = count[i].took.family()
		}
	}
	return out
}
