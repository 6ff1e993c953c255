package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// buckets are the upper bounds of the latency histogram in seconds, the
// defaults of the Prometheus client libraries.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

type series struct{ code, method string }

// metrics counts ordinary requests and writes the Prometheus text format by
// hand, which keeps the app to the standard library.
type metrics struct {
	mu       sync.Mutex
	requests map[series]uint64
	counts   []uint64 // one a bucket, not cumulative; the last is +Inf
	sum      float64
	inFlight int
}

// newMetrics has the series of good and bad answers from the start at zero,
// so that the first error is an increase and not a new series.
func newMetrics() *metrics {
	return &metrics{
		requests: map[series]uint64{{"200", "GET"}: 0, {"500", "GET"}: 0},
		counts:   make([]uint64, len(buckets)+1),
	}
}

func (m *metrics) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight++
}

func (m *metrics) observe(code int, method string, took time.Duration) {
	at, _ := slices.BinarySearch(buckets, took.Seconds()) // a bound belongs to its own bucket
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	m.requests[series{strconv.Itoa(code), knownMethod(method)}]++
	m.counts[at]++
	m.sum += took.Seconds()
}

// knownMethod keeps a caller from making a new series with every request.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}

// ServeHTTP implements http.Handler.
func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintln(w, "# HELP http_requests_total Ordinary requests answered.")
	fmt.Fprintln(w, "# TYPE http_requests_total counter")
	order := slices.SortedFunc(maps.Keys(m.requests), func(a, b series) int {
		return strings.Compare(a.code+a.method, b.code+b.method)
	})
	for _, s := range order {
		fmt.Fprintf(w, "http_requests_total{code=%q,method=%q} %d\n", s.code, s.method, m.requests[s])
	}
	fmt.Fprintln(w, "# HELP http_requests_in_flight Ordinary requests being answered.")
	fmt.Fprintln(w, "# TYPE http_requests_in_flight gauge")
	fmt.Fprintf(w, "http_requests_in_flight %d\n", m.inFlight)
	fmt.Fprintln(w, "# HELP http_request_duration_seconds How long ordinary requests took.")
	fmt.Fprintln(w, "# TYPE http_request_duration_seconds histogram")
	var total uint64
	for i, bound := range buckets {
		total += m.counts[i]
		fmt.Fprintf(w, "http_request_duration_seconds_bucket{le=%q} %d\n", strconv.FormatFloat(bound, 'g', -1, 64), total)
	}
	total += m.counts[len(buckets)]
	fmt.Fprintf(w, "http_request_duration_seconds_bucket{le=\"+Inf\"} %d\n", total)
	fmt.Fprintf(w, "http_request_duration_seconds_sum %g\n", m.sum)
	fmt.Fprintf(w, "http_request_duration_seconds_count %d\n", total)
}
