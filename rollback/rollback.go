// Package rollback decides, after cutover, whether a release keeps its
// traffic. It is pure: it does no I/O, reads no clock and holds no connection.
// Observations go in, a decision with its reason and figures comes out.
package rollback

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
)

// Verdict is what a trigger says of the active colour.
type Verdict int

// Unknown is the zero value on purpose: a trigger that says nothing neither
// takes traffic back nor counts as evidence that all is well.
const (
	Unknown Verdict = iota // no data, source away, too few requests: keep watching
	Fine
	Bad
)

func (v Verdict) String() string {
	return [...]string{"unknown", "fine", "bad"}[v]
}

// Observation is what was seen of the colours at one moment. A part that could
// not be read is marked as such, never left looking like a good value.
type Observation struct {
	At time.Time

	// Whom the active colour is, and who was before it.
	Whom, Before Subject

	// Active and Previous are the two colours' instances in Consul.
	// HealthErr is set when Consul could not be asked; the lists are then the
	// last known ones.
	Active, Previous []deployment.Instance
	Expected         int // instances the active colour should have
	HealthErr        error

	// Scrapes holds, per scrape source (see ScrapeSource.Key), what each active
	// instance's metrics endpoint said. A source that is not in it was not asked
	// anew since the last observation.
	Scrapes map[string][]Scrape

	// PreviousScrapes holds the same of the previous colour's instances.
	PreviousScrapes map[string][]Scrape

	// Answers holds what was heard for Asking triggers, by their names. One that
	// is not in it has had no new answer since the last observation.
	Answers map[string]Answer
	// Answer is the one for the trigger at hand; a Watch puts it in.
	Answer *Answer
}

// Scrape is one instance's answer: counter values by series, or an error.
type Scrape struct {
	Instance string // Consul service ID
	At       time.Time
	Families map[string]Family
	Err      error
}

// Family is one metric family of a scrape, counters and gauges only in this
// form; histograms arrive as their _count, _sum and _bucket series.
type Family []Series

// Series is one labelled value.
type Series struct {
	Labels map[string]string
	Value  float64
}

// ScrapeSource tells the agent which endpoint a trigger needs scraped.
type ScrapeSource struct {
	Scheme string // https; empty: http
	Path   string // URL path of the Prometheus text endpoint
	Port   string // a number, or the key in the service's meta that holds one; empty: the service's own port
	// Callers are the services whose instances are asked instead of the colour's
	// own, with commas between.
	Callers string
	TLS     measure.TLS // by https
}

// Key identifies the source in Observation.Scrapes.
func (s ScrapeSource) Key() string {
	key := s.Port + s.Path
	if s.Scheme != "" {
		key = fmt.Sprintf("%s %+v %s", s.Scheme, s.TLS, key)
	}
	if s.Callers != "" {
		key += " of " + s.Callers
	}
	return key
}

// Judgement is a trigger's verdict with its evidence.
type Judgement struct {
	Verdict Verdict
	Reason  string
	Figures map[string]float64
	// Doubt says that what was seen so far speaks against the colour and is no
	// proof yet. It is not bad, but a watch must not end well with it.
	Doubt bool
	// Tolerated says of an unknown that the trigger sees, and that what it sees is
	// within what its configuration puts up with. It is no proof that all is well,
	// but where that was seen before, a watch may end with it.
	Tolerated bool
}

// Judge follows one watch. It is made anew for each watch and fed every
// observation in order.
type Judge interface {
	Observe(Observation) Judgement
}

// Comparing is a Judge that compares the active colour with the previous one.
type Comparing interface {
	Judge
	// Prepare takes what is seen of the previous colour before the cutover, while
	// it still serves.
	Prepare(Observation)
	// Past is the baseline so far, to be kept where a watch may begin anew.
	Past() Past
	// Recall takes up a baseline that was kept.
	Recall(Past)
}

// Learning is a Judge that, while it judges a colour, learns what the next one has
// to be compared with.
type Learning interface {
	// Learned is for a Comparing judge of the next release to recall.
	Learned() Past
}

// Trigger is a trigger as configured: immutable, and marshals to JSON in a
// form that changes exactly when its configuration does.
type Trigger interface {
	// Begin starts judging a watch.
	Begin() Judge
	// Sources lists the metrics endpoints the trigger needs; none for those
	// that judge by Consul's health alone.
	Sources() []ScrapeSource
	// Families lists the metrics it needs of those endpoints, by the names their
	// lines begin with: of a histogram x these are x_count, x_sum and x_bucket.
	// Nothing else of an endpoint, however large, is kept.
	Families() []string
}

// Named is a trigger as declared in a policy.
type Named struct {
	Kind    string
	Name    string
	Trigger Trigger
}

// Kind decodes the body of a `trigger "<kind>" "<name>"` block.
type Kind func(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics)

// Kinds are the triggers a policy may name.
var Kinds = map[string]Kind{
	HealthKind:   decodeHealth,
	"errors":     decodeErrors,
	"http-json":  decodeHTTPJSON,
	"kv":         decodeKV,
	"latency":    decodeLatency,
	"nomad":      decodeNomad,
	"prometheus": decodePrometheus,
	"volume":     decodeVolume,
}
