package xds

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Table is what a proxy knows about its upstream: the routes and where they
// lead. A published Table is never changed.
type Table struct {
	TCP      bool               // the upstream has no HTTP routes, only one that takes everything
	Routes   []Route            // in the order in which they are tried
	Clusters map[string]Cluster // by name; all of them, routed to or not
}

// Route says where the requests it matches go.
type Route struct {
	Path    Match // of the URL's path
	Headers []Condition
	Query   []Condition
	Targets []Target

	PrefixRewrite  string
	Timeout        time.Duration // of the whole request; 0 is none
	Retry          Retry
	RequestHeaders Headers
}

// Target is a cluster and its share of a route's requests.
type Target struct {
	Cluster string
	Weight  uint32
}

// Retry says which answers are tried again, and how often.
type Retry struct {
	On    []string // Envoy's words, such as 5xx or connect-failure
	Codes []uint32 // with retriable-status-codes
	Times uint32   // after the first try
}

// Headers is what a route changes in the headers of a request.
type Headers struct {
	Set, Add map[string]string
	Remove   []string
}

// Condition is a match on the header or query parameter of that name.
type Condition struct {
	Name   string
	Match  Match
	Invert bool
}

// Kind is how a Match compares.
type Kind string

// The matchers that Consul emits.
const (
	Exact   Kind = "exact"
	Prefix  Kind = "prefix"
	Suffix  Kind = "suffix"
	Regex   Kind = "regex"
	Present Kind = "present"
)

// Match compares one string.
type Match struct {
	Kind       Kind
	Value      string
	IgnoreCase bool

	regex *regexp.Regexp // of a Regex, anchored at both ends as Envoy does
}

// Cluster is the instances of one target.
type Cluster struct {
	Name      string
	Subset    string // as the service-resolver names it; empty for the whole service
	Service   string
	Endpoints []Endpoint
}

// Endpoint is one instance.
type Endpoint struct {
	Address string // host:port
	Healthy bool
}

// Route finds the first route that a request matches.
func (t Table) Route(r *http.Request) (*Route, bool) {
	for i := range t.Routes {
		if t.Routes[i].matches(r) {
			return &t.Routes[i], true
		}
	}
	return nil, false
}

// Subset is the subset that gets the requests no special route takes: the
// active colour. It is empty where there is no such route, where it leads to
// the whole service, or where it is split.
func (t Table) Subset() string {
	for _, route := range t.Routes {
		if route.Path.Kind == Prefix && route.Path.Value == "/" && len(route.Headers)+len(route.Query) == 0 {
			if len(route.Targets) != 1 {
				return ""
			}
			return subset(route.Targets[0].Cluster)
		}
	}
	return ""
}

// Healthy counts the instances of a subset to which requests may go.
func (t Table) Healthy(subset string) int {
	var n int
	for _, c := range t.Clusters {
		if c.Subset != subset {
			continue
		}
		for _, e := range c.Endpoints {
			if e.Healthy {
				n++
			}
		}
	}
	return n
}

// names takes Consul's name of a cluster apart:
// [subset.]service.namespace.datacenter.internal.<trust domain>
func names(cluster string) (subset, service string) {
	if _, rest, ok := strings.Cut(cluster, "~"); ok { // a hash of non-default settings goes before
		cluster = rest
	}
	head, _, ok := strings.Cut(cluster, ".internal.")
	if !ok {
		return "", ""
	}
	labels := strings.Split(head, ".")
	switch len(labels) {
	case 3:
		return "", labels[0]
	case 4:
		return labels[0], labels[1]
	}
	return "", ""
}

func subset(cluster string) string {
	s, _ := names(cluster)
	return s
}
