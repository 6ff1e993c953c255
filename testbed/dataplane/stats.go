package dataplane

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// stats counts what came of the requests, by the subset that they were sent to,
// as Envoy counts them.
type stats struct {
	mu     sync.Mutex
	counts map[outcome]int
}

type outcome struct {
	subset string
	status int
}

// counted notes the status of every answer.
func (s *stats) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.counts == nil {
			s.counts = map[outcome]int{}
		}
		s.counts[outcome{w.Header().Get(ClusterHeader), seen.status}]++
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets a ResponseController reach the writer beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Stats answers as the Prometheus endpoint of an Envoy that Consul configured, of
// the requests to one upstream service.
func (p *Proxy) Stats(service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.stats.mu.Lock()
		defer p.stats.mu.Unlock()
		var all []outcome
		for o := range p.stats.counts {
			all = append(all, o)
		}
		slices.SortFunc(all, func(a, b outcome) int {
			return cmp.Or(cmp.Compare(a.subset, b.subset), cmp.Compare(a.status, b.status))
		})
		fmt.Fprintln(w, "# TYPE envoy_cluster_upstream_rq counter")
		for _, o := range all {
			fmt.Fprintf(w, "envoy_cluster_upstream_rq{envoy_response_code=\"%d\",consul_destination_service=%q,consul_destination_service_subset=%q} %d\n",
				o.status, service, o.subset, p.stats.counts[o])
		}
	})
}
