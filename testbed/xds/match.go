package xds

import (
	"net/http"
	"regexp"
	"strings"
)

func (r *Route) matches(req *http.Request) bool {
	if !r.Path.matches(req.URL.Path) {
		return false
	}
	for _, c := range r.Headers {
		value, ok := header(req, c.Name)
		if (ok && c.Match.matches(value)) == c.Invert {
			return false
		}
	}
	if len(r.Query) == 0 {
		return true
	}
	query := req.URL.Query()
	for _, c := range r.Query {
		values, ok := query[c.Name]
		if !ok || !c.Match.matches(values[0]) {
			return false
		}
	}
	return true
}

// header knows the pseudo headers too, by which Consul matches methods.
func header(req *http.Request, name string) (string, bool) {
	switch name {
	case ":method":
		return req.Method, true
	case ":authority":
		return req.Host, true
	case ":path":
		return req.URL.RequestURI(), true
	}
	values := req.Header.Values(name)
	return strings.Join(values, ","), len(values) > 0
}

func (m Match) matches(s string) bool {
	value := m.Value
	if m.IgnoreCase && m.Kind != Regex {
		s, value = strings.ToLower(s), strings.ToLower(value)
	}
	switch m.Kind {
	case Exact:
		return s == value
	case Prefix:
		return strings.HasPrefix(s, value)
	case Suffix:
		return strings.HasSuffix(s, value)
	case Regex:
		return m.regex != nil && m.regex.MatchString(s)
	case Present:
		return true
	}
	return false
}

// regexMatch anchors the expression at both ends, as Envoy does. One that
// does not compile matches nothing.
func regexMatch(expression string) Match {
	compiled, _ := regexp.Compile("^(?:" + expression + ")$")
	return Match{Kind: Regex, Value: expression, regex: compiled}
}
