package ask

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/tealdeploy/teal/agent/measure"
)

// maxSeries bounds how many series of one answer are looked at: who asks for the
// state of a release has few.
const maxSeries = 1000

// prometheus asks a Prometheus by its official client. A warning, such
// as that a part of the data could not be had, makes the answer an error: half a
// sum is no sum. Notes on how the query might be better written are none.
func (c client) prometheus(ctx context.Context, q measure.Prometheus, at time.Time) ([]measure.Value, error) {
	through, err := api.NewClient(api.Config{Address: q.URL, Client: c.http})
	if err != nil {
		return nil, err
	}
	if at.IsZero() {
		at = time.Now()
	}
	var answer model.Value
	var warnings v1.Warnings
	if q.Range > 0 {
		answer, warnings, _, err = v1.NewAPI(through).QueryRange(ctx, q.Query, v1.Range{Start: at.Add(-q.Range), End: at, Step: q.Step})
	} else {
		answer, warnings, _, err = v1.NewAPI(through).Query(ctx, q.Query, at, v1.WithLimit(maxSeries+1))
	}
	switch {
	case errors.Is(err, errTooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, told(err)
	case len(warnings) > 0:
		return nil, fmt.Errorf("the answer is not whole: %s", warnings[0])
	}
	return c.values(answer)
}

// told is Prometheus' own word on an error.
func told(err error) error {
	var e *v1.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Type {
	case v1.ErrBadData:
		return fmt.Errorf("refused the query: %s", e.Msg)
	case v1.ErrTimeout, v1.ErrCanceled:
		return fmt.Errorf("the query took too long: %s", e.Msg)
	}
	return fmt.Errorf("%s %s", e.Msg, e.Detail) // the status, and what was said with it
}

// errEmpty: the client takes null for a series, and Prometheus never says it.
var errEmpty = errors.New("the answer holds a series that is null: this is no Prometheus")

// values are the numbers in an answer: of a range every point.
func (c client) values(answer model.Value) ([]measure.Value, error) {
	var out []measure.Value
	add := func(name string, n model.SampleValue) error {
		if len(out) == maxSeries {
			return fmt.Errorf("the answer holds more than %d values; aggregate them in the query", maxSeries)
		}
		out = append(out, measure.Value{Name: c.shorten(name), Number: float64(n)})
		return nil
	}
	switch v := answer.(type) {
	case *model.Scalar:
		if err := add("", v.Value); err != nil {
			return nil, err
		}
	case model.Vector:
		for _, s := range v {
			if s == nil {
				return nil, errEmpty
			}
			if s.Histogram != nil {
				return nil, fmt.Errorf("%s is a histogram; take a quantile of it, or its count", s.Metric)
			}
			if err := add(named(s.Metric), s.Value); err != nil {
				return nil, err
			}
		}
	case model.Matrix:
		for _, s := range v {
			if s == nil {
				return nil, errEmpty
			}
			if len(s.Histograms) > 0 {
				return nil, fmt.Errorf("%s is a histogram; take a quantile of it, or its count", s.Metric)
			}
			for _, p := range s.Values {
				if err := add(named(s.Metric), p.Value); err != nil {
					return nil, err
				}
			}
		}
	default:
		return nil, fmt.Errorf("the answer is a %T, which holds no number", answer)
	}
	return out, nil
}

// named is how a series without labels is called: not at all.
func named(m model.Metric) string {
	if len(m) == 0 {
		return ""
	}
	return m.String()
}
