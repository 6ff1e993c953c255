package consultest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Consul's bounds for an entry's Meta.
const (
	mostMeta     = 64
	longestKey   = 128
	longestValue = 512
)

// says is an error in Consul's own words.
func says(format string, args ...any) error { return fmt.Errorf(format, args...) }

// validate refuses an entry that makes no sense by itself, in Consul's words.
func validate(e api.ConfigEntry) error {
	if e.GetName() == "" {
		return says("Name is required")
	}
	if len(e.GetMeta()) > mostMeta {
		return says("Meta exceeds maximum element count %d", mostMeta)
	}
	for k, v := range e.GetMeta() {
		switch {
		case len(k) > longestKey:
			return says("Meta key %q exceeds maximum length %d", k, longestKey)
		case len(v) > longestValue:
			return says("Meta value for key %q exceeds maximum length %d", k, longestValue)
		}
	}
	switch e := e.(type) {
	case *api.ServiceConfigEntry:
		if !slices.Contains([]string{"", "http", "http2", "grpc", "tcp"}, e.Protocol) {
			return says("invalid value for protocol: %v", e.Protocol)
		}
	case *api.ServiceRouterConfigEntry:
		for i, r := range e.Routes {
			if err := validRoute(r); err != nil {
				return says("Route[%d] %w", i, err)
			}
		}
	case *api.ServiceSplitterConfigEntry:
		return validSplits(e)
	case *api.ServiceResolverConfigEntry:
		return validResolver(e)
	}
	return nil
}

func validRoute(r api.ServiceRoute) error {
	rewritable := false
	if r.Match != nil && r.Match.HTTP != nil {
		m := r.Match.HTTP
		rewritable = m.PathExact != "" || m.PathPrefix != ""
		switch {
		case m.PathExact != "" && !strings.HasPrefix(m.PathExact, "/"):
			return says("PathExact doesn't start with '/': %q", m.PathExact)
		case m.PathPrefix != "" && !strings.HasPrefix(m.PathPrefix, "/"):
			return says("PathPrefix doesn't start with '/': %q", m.PathPrefix)
		case count(m.PathExact != "", m.PathPrefix != "", m.PathRegex != "") > 1:
			return says("should only contain at most one of PathExact, PathPrefix, or PathRegex")
		}
		for j, h := range m.Header {
			switch {
			case h.Name == "":
				return says("Header[%d] missing required Name field", j)
			case count(h.Present, h.Exact != "", h.Regex != "", h.Prefix != "", h.Suffix != "") != 1:
				return says("Header[%d] should only contain one of Present, Exact, Prefix, Suffix, or Regex", j)
			}
		}
		for j, q := range m.QueryParam {
			switch {
			case q.Name == "":
				return says("QueryParam[%d] missing required Name field", j)
			case count(q.Present, q.Exact != "", q.Regex != "") != 1:
				return says("QueryParam[%d] should only contain one of Present, Exact, or Regex", j)
			}
		}
	}
	if r.Destination != nil && r.Destination.PrefixRewrite != "" && !rewritable {
		return says("cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix")
	}
	return nil
}

func count(facts ...bool) (n int) {
	for _, is := range facts {
		if is {
			n++
		}
	}
	return n
}

func validSplits(e *api.ServiceSplitterConfigEntry) error {
	if len(e.Splits) == 0 {
		return says("no splits configured")
	}
	hundredths := 0
	for _, s := range e.Splits {
		hundredths += int(math.Round(float64(s.Weight * 100)))
	}
	if hundredths != 100*100 {
		return says("the sum of all split weights must be 100, not %f", float32(hundredths)/100)
	}
	return nil
}

func validResolver(e *api.ServiceResolverConfigEntry) error {
	defined := func(subset string) bool {
		_, ok := e.Subsets[subset]
		return ok
	}
	switch r := e.Redirect; {
	case e.DefaultSubset != "" && !defined(e.DefaultSubset):
		return says("DefaultSubset %q is not a valid subset", e.DefaultSubset)
	case r == nil:
	case len(e.Failover) > 0:
		return says("Redirect and Failover cannot both be set")
	case *r == api.ServiceResolverRedirect{}:
		return says("Redirect is empty")
	case r.Service == "" && r.ServiceSubset != "":
		return says("Redirect.ServiceSubset defined without Redirect.Service")
	}
	for subset := range e.Failover {
		if subset != "*" && !defined(subset) {
			return says("Bad Failover[%q]: not a valid subset subset", subset)
		}
	}
	return nil
}
