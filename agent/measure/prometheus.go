package measure

import (
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Prometheus is a query of a Prometheus server, or of what has its API.
type Prometheus struct {
	URL   string // such as http://prometheus:9090
	Query string
	// Range is how far back to look: every point of the range is judged. 0 asks
	// for the present value.
	Range time.Duration
	Step  time.Duration // of a range
	Access
}

// Declare adds the arguments to a decoder.
func (p *Prometheus) Declare(d *hclbody.Decoder) {
	d.String("url", &p.URL, hclbody.Required, hclbody.NotEmpty)
	d.String("query", &p.Query, hclbody.Required, hclbody.NotEmpty)
	d.Duration("range", &p.Range, hclbody.ZeroAllowed)
	d.Duration("step", &p.Step)
	p.Access.declare(d)
}

// maxPoints is how many points of a series a range may have: what Prometheus
// itself refuses beyond 11,000, and nobody needs to judge a release.
const maxPoints = 1000

// Validate reports values that are of the right type and cannot work.
func (p *Prometheus) Validate(d *hclbody.Decoder) {
	p.Access.validate(d, p.URL)
	if strings.Contains(p.URL, "?") {
		d.Errorf("url", "Wrong URL", "url holds a query; it is the server's address, and what it is asked stands in query.")
	}
	NoStray(d, "query", p.Query)
	if strings.TrimSpace(p.Query) == "" && p.Query != "" {
		d.Errorf("query", "Empty query", "There is nothing but blanks in the query.")
	}
	switch {
	case d.Has("step") && p.Range == 0:
		d.Errorf("step", "Step of nothing", "step is the distance of points in a range; give range too, or neither.")
	case p.Range > 0 && p.Step == 0:
		p.Step = max(time.Second, p.Range/60)
	}
	switch {
	case p.Range == 0 || p.Step == 0:
	case p.Step > p.Range:
		d.Errorf("step", "Step longer than range", "The step of %s does not fit into the range of %s.", p.Step, p.Range)
	case p.Range/p.Step > maxPoints:
		d.Errorf("step", "Too many points", "A range of %s in steps of %s has more than %d points; take longer steps.", p.Range, p.Step, maxPoints)
	}
}

// Fill implements Query.
func (p Prometheus) Fill(f Filling) (Query, error) {
	var err error
	if p.Query, err = f.fill(p.Query, quoted); err != nil {
		return nil, err
	}
	return p, nil
}

// Over implements Historic.
func (p Prometheus) Over(length, step time.Duration) Query {
	p.Range, p.Step = length, step
	return p
}

// quoted escapes what would end a string of PromQL.
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`, "\n", `\n`).Replace(s)
}

// Target implements Query.
func (p Prometheus) Target() string { return "Prometheus at " + p.URL }
