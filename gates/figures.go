package gates

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
)

// Figures is a gate of the kinds "prometheus" and "http-json": what a metrics
// service says of the candidate, held against limits. A service that is away, or
// whose answer is none, holds the release: that is no fault of the candidate.
type Figures struct {
	Query  measure.Query
	Limits measure.Limits
}

func decodePrometheus(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	q := measure.Prometheus{}
	d := hclbody.New(`gate "prometheus"`, eval)
	q.Declare(d)
	limits := decodeLimits(d, body)
	q.Validate(d)
	return Figures{q, limits}, d.Diagnostics()
}

func decodeHTTPJSON(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	q := measure.Document{}
	d := hclbody.New(`gate "http-json"`, eval)
	q.Declare(d)
	limits := decodeLimits(d, body)
	q.Validate(d)
	return Figures{q, limits}, d.Diagnostics()
}

// decodeLimits reads the body, and the limits in it.
func decodeLimits(d *hclbody.Decoder, body hcl.Body) (l measure.Limits) {
	empty := Hold.String()
	l.Declare(d)
	d.String("empty", &empty, hclbody.OneOf(Hold.String(), Pass.String(), Fail.String()))
	d.Elsewhere(shared...)
	d.Decode(body)
	l.Empty = map[string]measure.Verdict{Hold.String(): measure.Unknown, Pass.String(): measure.Within, Fail.String(): measure.Beyond}[empty]
	l.Validate(d)
	return l
}

// filling is what placeholders in a query stand for.
func filling(t Target) measure.Filling {
	return measure.Filling{"service": t.Service, "colour": string(t.Colour), "version": t.Version}
}

// Aimed says whether the question names the candidate, by its colour or its version.
// Before the cutover an answer that does not may be about the colour that serves.
func (f Figures) Aimed() bool {
	text := ""
	switch q := f.Query.(type) {
	case measure.Prometheus:
		text = q.Query
	case measure.Document:
		text = q.URL + q.Path
	}
	return strings.Contains(text, "{colour}") || strings.Contains(text, "{version}")
}

// Check implements Gate.
func (f Figures) Check(ctx context.Context, target Target) (Finding, error) {
	q, err := f.Query.Fill(filling(target))
	if err != nil {
		return Finding{}, err
	}
	values, err := ask.Query(ctx, q, time.Time{})
	if err != nil {
		return Finding{}, err
	}
	return found(f.Limits.Judge(values), q.Target()), nil
}

// found is what a measurement says as a gate.
func found(m measure.Finding, where string) Finding {
	out := Finding{
		Verdict: map[measure.Verdict]Verdict{measure.Within: Pass, measure.Beyond: Fail}[m.Verdict],
		Reason:  fmt.Sprintf("%s: %s", where, m.Reason),
		Figures: map[string]string{},
	}
	for name, n := range m.Figures {
		out.Figures[name] = strconv.FormatFloat(n, 'g', 6, 64)
	}
	return out
}
