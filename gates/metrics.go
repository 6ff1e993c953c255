package gates

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
)

// Metrics is the gate of kind "metrics": a figure that each of the candidate's
// instances tells at its own Prometheus endpoint, held against limits. The series
// that have the labels are added up, instance by instance.
type Metrics struct {
	Metric string
	Labels map[string]string
	Scheme string
	Port   int // 0: the instance's own
	Path   string
	Limits measure.Limits
	TLS    *measure.TLS `json:",omitempty"`
}

func decodeMetrics(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	m := Metrics{Scheme: "http", Path: "/metrics"}
	d := hclbody.New(`gate "metrics"`, eval)
	d.String("metric", &m.Metric, hclbody.Required, hclbody.NotEmpty)
	d.StringMap("labels", &m.Labels)
	d.String("scheme", &m.Scheme, hclbody.OneOf("http", "https"))
	d.Int("port", &m.Port, hclbody.Within(1, 65535))
	d.String("path", &m.Path, hclbody.NotEmpty)
	d.Block("tls")
	m.Limits = decodeLimits(d, body)
	m.TLS = measure.TLSIn(d, eval)
	m.TLS.CheckScheme(d, m.Scheme)

	switch u, err := url.Parse("http://host" + m.Path); {
	case !strings.HasPrefix(m.Path, "/"):
		d.Errorf("path", "Invalid path", "path is %q; it must begin with a slash.", m.Path)
	case err != nil || u.Fragment != "":
		d.Errorf("path", "Invalid path", "%q is not a path and query of a URL.", m.Path)
	}
	if strings.ContainsAny(m.Metric, " \t\r\n{}()[]\"',=") {
		d.Errorf("metric", "Not a metric's name", "%q is not the name of a metric; select series by labels.", m.Metric)
	}
	return m, d.Diagnostics()
}

// Check implements Gate. Every expected instance is asked.
func (m Metrics) Check(ctx context.Context, target Target) (Finding, error) {
	var serving []deployment.Instance
	for _, i := range target.Instances {
		if i.Serving() {
			serving = append(serving, i)
		}
	}
	if need := max(1, target.Expected); len(serving) < need {
		return Finding{Reason: fmt.Sprintf("%d of %d instances of %s %s are ready to be asked", len(serving), need, target.Service, target.Colour)}, nil
	}
	values := make([]measure.Value, len(serving))
	known := make([]bool, len(serving)) // there is a series
	errs := make([]error, len(serving))
	slots := make(chan struct{}, maxConcurrent)
	var wg sync.WaitGroup
	for i, instance := range serving {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			values[i], known[i], errs[i] = m.of(ctx, target, instance)
		})
	}
	wg.Wait()
	var all []measure.Value
	var silent []string
	for i, ok := range known {
		switch {
		case errs[i] != nil:
			silent = append(silent, fmt.Sprintf("%s: %s", serving[i].ID, errs[i]))
		case ok:
			all = append(all, values[i])
		}
	}
	finding := m.Limits.Judge(all)
	// One that is beyond is so whoever else is silent; for a pass all have to be
	// heard, and all have to have the metric.
	if finding.Verdict != measure.Beyond || len(all) == 0 {
		if len(silent) > 0 {
			return Finding{}, errors.New(listed(silent))
		}
		if missing := len(serving) - len(all); missing > 0 {
			empty := m.Limits.Judge(nil)
			empty.Reason = fmt.Sprintf("%d of %d instances have no series of %s%s", missing, len(serving), m.Metric, m.selected())
			if empty.Verdict != measure.Within || len(all) == 0 {
				finding = empty
			}
		}
	}
	return found(finding, "metrics at "+m.Path), nil
}

// selected is how the labels stand behind the metric's name.
func (m Metrics) selected() string {
	if len(m.Labels) == 0 {
		return ""
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(m.Labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, m.Labels[name]))
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// of asks one instance, and adds its series up.
func (m Metrics) of(ctx context.Context, target Target, i deployment.Instance) (measure.Value, bool, error) {
	host, err := target.at(i, m.Port)
	if err != nil {
		return measure.Value{}, false, err
	}
	series, err := ask.Metrics(ctx, m.Scheme+"://"+host+m.Path, m.Metric, m.Labels, measure.Access{TLS: m.TLS.Settings()})
	if err != nil {
		return measure.Value{}, false, errors.New(advised(err, "the instance", m.Scheme == "https", m.TLS))
	}
	sum := measure.Value{Name: m.Metric + m.selected() + " of " + i.ID}
	for _, s := range series {
		sum.Number += s.Number
	}
	return sum, len(series) > 0, nil
}
