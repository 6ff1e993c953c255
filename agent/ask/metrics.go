package ask

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/redact"
)

// Metrics reads an endpoint in the Prometheus text format and gives the series of
// one name, as its lines have it: of a histogram x these are x_count and x_sum.
// Only series that have all of the labels are given.
func Metrics(ctx context.Context, at, metric string, labels map[string]string, a measure.Access) ([]measure.Value, error) {
	c, err := newClient(a)
	if err != nil {
		return nil, errors.New(redact.Cut(redact.Line(err.Error()), maxError))
	}
	return c.metrics(ctx, at, metric, labels)
}

func (c client) metrics(ctx context.Context, at, metric string, labels map[string]string) ([]measure.Value, error) {
	body, err := c.get(ctx, at, "text/plain;version=0.0.4;q=1,text/plain;q=0.5")
	if err != nil {
		return nil, c.plain(ctx, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, c.plain(ctx, fmt.Errorf("not the Prometheus text format: %w", err))
	}
	var out []measure.Value
	for _, name := range slices.Sorted(maps.Keys(families)) {
		for _, m := range families[name].GetMetric() {
			n, ok := numberOf(name, metric, m)
			if !ok || !has(m, labels) {
				continue
			}
			if len(out) == maxSeries {
				return nil, fmt.Errorf("more than %d series of %s; select some by labels", maxSeries, metric)
			}
			out = append(out, measure.Value{Name: c.series(metric, m), Number: n})
		}
	}
	return out, nil
}

// numberOf is what a line of this name would hold.
func numberOf(family, metric string, m *dto.Metric) (float64, bool) {
	sum, count := 0.0, uint64(0)
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue(), family == metric
	case m.Gauge != nil:
		return m.Gauge.GetValue(), family == metric
	case m.Untyped != nil:
		return m.Untyped.GetValue(), family == metric
	case m.Histogram != nil:
		sum, count = m.Histogram.GetSampleSum(), m.Histogram.GetSampleCount()
	case m.Summary != nil:
		sum, count = m.Summary.GetSampleSum(), m.Summary.GetSampleCount()
	}
	switch metric {
	case family + "_sum":
		return sum, true
	case family + "_count":
		return float64(count), true
	}
	return 0, false
}

func has(m *dto.Metric, labels map[string]string) bool {
	found := 0
	for _, l := range m.GetLabel() {
		if want, ok := labels[l.GetName()]; ok && want == l.GetValue() {
			found++
		}
	}
	return found == len(labels)
}

// series is how a person tells one from another.
func (c client) series(metric string, m *dto.Metric) string {
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if len(pairs) == 0 {
		return metric
	}
	return c.shorten(metric + "{" + strings.Join(pairs, ",") + "}")
}
