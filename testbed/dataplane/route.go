package dataplane

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/tealdeploy/teal/testbed/xds"
)

// choice is what was decided for one request, once: a change of routes while
// it is under way does not touch it.
type choice struct {
	route   *xds.Route
	cluster xds.Cluster
}

type choiceKey struct{}

var errNoEndpoint = errors.New("no healthy upstream")

// route decides before anything is sent. The answers for what leads nowhere
// are Envoy's.
func (p *Proxy) route(forward http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		table := p.table()
		route, ok := table.Route(r)
		if !ok {
			http.Error(w, "no route", http.StatusNotFound)
			return
		}
		cluster, ok := table.Clusters[p.target(route)]
		if !ok {
			http.Error(w, "route to an unknown cluster", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set(ClusterHeader, cluster.Subset)
		ctx := context.WithValue(r.Context(), choiceKey{}, choice{route, cluster})
		if route.Timeout > 0 && r.Header.Get("Upgrade") == "" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, route.Timeout)
			defer cancel()
		}
		forward.ServeHTTP(w, r.WithContext(ctx))
	})
}

// target spreads the requests of a split route by weight.
func (p *Proxy) target(route *xds.Route) string {
	if len(route.Targets) == 1 {
		return route.Targets[0].Cluster
	}
	var total uint64
	for _, t := range route.Targets {
		total += uint64(t.Weight)
	}
	if total == 0 {
		return ""
	}
	// A step prime to any total that Consul makes (10000) visits all shares evenly.
	at := p.next.Add(1) * 7919 % total
	for _, t := range route.Targets {
		if at < uint64(t.Weight) {
			return t.Cluster
		}
		at -= uint64(t.Weight)
	}
	return ""
}

func rewrite(r *httputil.ProxyRequest) {
	chosen := r.In.Context().Value(choiceKey{}).(choice)
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = "upstream" // each try sets the instance
	r.Out.Host = r.In.Host
	r.SetXForwarded()
	if to := chosen.route.PrefixRewrite; to != "" {
		r.Out.URL.Path = rewritten(r.In.URL.Path, chosen.route.Path, to)
		r.Out.URL.RawPath = ""
	}
	headers := chosen.route.RequestHeaders
	for name, value := range headers.Set {
		r.Out.Header.Set(name, value)
	}
	for name, value := range headers.Add {
		r.Out.Header.Add(name, value)
	}
	for _, name := range headers.Remove {
		r.Out.Header.Del(name)
	}
}

// rewritten replaces the matched part of the path, which is all of it unless
// the match is by prefix.
func rewritten(path string, match xds.Match, to string) string {
	if match.Kind != xds.Prefix || len(match.Value) > len(path) {
		return to
	}
	path = to + path[len(match.Value):]
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

// failed turns a request that got no answer into Envoy's status for it.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusServiceUnavailable
	if errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	http.Error(w, "upstream: "+err.Error(), status)
}
