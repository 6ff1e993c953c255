package main

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// counted answers that all is well, but at /fail, and tells at /metrics how often it
// did either, as Prometheus has it.
type counted struct {
	well, failed atomic.Int64
}

// ServeHTTP implements http.Handler.
func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/metrics":
		_, _ = fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} %d\nhttp_requests_total{code=\"500\"} %d\n", c.well.Load(), c.failed.Load())
	case "/fail":
		c.failed.Add(1)
		http.Error(w, "failed", http.StatusInternalServerError)
	default:
		c.well.Add(1)
		_, _ = io.WriteString(w, "well\n")
	}
}
