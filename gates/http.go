package gates

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Who an http gate asks.
const (
	EveryInstance = "instance" // each serving instance of the candidate; all must pass
	EveryAny      = "any"      // the same, but one is enough
	EveryPreview  = "preview"  // the entry point at URL, with the preview header
)

// PreviewHeader is the header by which a request asks for a colour that is not
// the active one.
const PreviewHeader = "X-Teal-Colour"

// HTTP is the gate of kind "http": a request, and what its answer must be.
//
// In Path, URL, Body, BodyContains, the values of Headers and those of JSON,
// {colour}, {version} and {service} stand for the candidate's.
//
// An instance that answers something else, refuses the connection or does not
// answer in time fails the look. Only instances that Consul would route to are
// asked, and until all expected ones are such the look is on hold. An entry
// point that cannot be reached says nothing of the candidate: that is an error.
type HTTP struct {
	Every  string
	URL    string // entry point, for EveryPreview only
	Scheme string
	Port   int // 0: the instance's own
	Path   string

	Method  string
	Headers map[string]string
	Body    string

	Status       []int // any of them
	BodyRegex    *regexp.Regexp
	BodyContains string
	JSON         map[string]string // dotted path → value

	TLSSkipVerify   bool
	FollowRedirects bool
}

func decodeHTTP(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	g := HTTP{Every: EveryInstance, Scheme: "http", Path: "/", Status: []int{http.StatusOK}}
	var pattern string
	d := hclbody.New(`gate "http"`, eval)
	d.String("every", &g.Every, hclbody.OneOf(EveryInstance, EveryAny, EveryPreview))
	d.String("url", &g.URL, hclbody.NotEmpty)
	d.String("scheme", &g.Scheme, hclbody.OneOf("http", "https"))
	d.Int("port", &g.Port, hclbody.Within(1, 65535))
	d.String("path", &g.Path, hclbody.NotEmpty)
	d.String("method", &g.Method, hclbody.OneOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
	d.StringMap("headers", &g.Headers)
	d.String("body", &g.Body)
	d.Ints("status", &g.Status, hclbody.Within(100, 599))
	d.String("body_regex", &pattern, hclbody.NotEmpty)
	d.String("body_contains", &g.BodyContains, hclbody.NotEmpty)
	d.StringMap("json", &g.JSON)
	d.Bool("tls_skip_verify", &g.TLSSkipVerify)
	d.Bool("follow_redirects", &g.FollowRedirects)
	d.Elsewhere(shared...)
	d.Decode(body)

	if g.Method == "" {
		g.Method = http.MethodGet
		if g.Body != "" {
			g.Method = http.MethodPost
		}
	}
	slices.Sort(g.Status)
	g.Status = slices.Compact(g.Status)
	if pattern != "" {
		re, err := regexp.Compile(pattern)
		if err != nil {
			d.Errorf("body_regex", "Invalid regular expression", "body_regex: %s.", plain(err))
		}
		g.BodyRegex = re
	}
	g.validate(d)
	return g, d.Diagnostics()
}

// plain drops the package's name from an error of regexp.
func plain(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return fmt.Sprintf("%s: %q", e.Code, e.Expr)
	}
	return err.Error()
}

// validate reports what only shows when the attributes are seen together.
func (g HTTP) validate(d *hclbody.Decoder) {
	if !strings.HasPrefix(g.Path, "/") {
		d.Errorf("path", "Invalid path", "path is %q; it must begin with a slash.", g.Path)
	} else if err := parsable("http://host" + g.Path); err != nil {
		d.Errorf("path", "Invalid path", "path: %s.", err)
	}
	switch {
	case g.Every == EveryPreview && !d.Has("url"):
		d.Errorf("every", "No entry point", `every = "preview" asks through an entry point; name it with url, for example url = "http://edge:8080".`)
	case g.Every != EveryPreview && d.Has("url"):
		d.Errorf("url", "Contradictory gate", `url is an entry point and goes with every = "preview"; with every = %q the instances themselves are asked.`, g.Every)
	}
	if g.Every == EveryPreview {
		for _, name := range []string{"scheme", "port"} {
			if d.Has(name) {
				d.Errorf(name, "Contradictory gate", "With every = \"preview\" the %s is part of url.", name)
			}
		}
	}
	if g.URL != "" {
		g.validateURL(d)
	}
	if g.TLSSkipVerify && g.scheme() != "https" && !strings.Contains(g.URL, "{") {
		d.Errorf("tls_skip_verify", "Contradictory gate", "tls_skip_verify says how to treat a certificate, but the scheme is http.")
	}
	if g.Method == http.MethodHead && (g.BodyRegex != nil || g.BodyContains != "" || len(g.JSON) > 0) {
		d.Errorf("method", "Contradictory gate", "An answer to HEAD has no body to match.")
	}
	spelled := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(g.Headers)) {
		value, canonical := g.Headers[name], http.CanonicalHeaderKey(name)
		if other, ok := spelled[canonical]; ok {
			d.Errorf("headers", "Contradictory gate", "%s and %s are the same header.", other, name)
		}
		spelled[canonical] = name
		switch {
		case !validHeaderName(name):
			d.Errorf("headers", "Invalid header", "%q is not a header name.", name)
		case !validHeaderValue(value):
			d.Errorf("headers", "Invalid header", "The value of %s holds a line break or another control character.", name)
		case canonical == PreviewHeader && g.Every == EveryPreview:
			d.Errorf("headers", "Contradictory gate", "%s is set by Teal to the candidate's colour.", name)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(g.JSON)) {
		if slices.Contains(strings.Split(path, "."), "") {
			d.Errorf("json", "Invalid JSON path", "%q has an empty part; write keys and indices with dots between, such as \"checks.0.status\".", path)
		}
	}
}

func (g HTTP) validateURL(d *hclbody.Decoder) {
	if err := parsable(g.URL); err != nil {
		d.Errorf("url", "Invalid URL", "url: %s.", err)
		return
	}
	u, _ := url.Parse(sample(g.URL))
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		d.Errorf("url", "Invalid URL", "url is an entry point such as \"http://edge:8080\".")
	case u.User != nil:
		d.Errorf("url", "Invalid URL", "url holds credentials; give them as a header.")
	case u.RawQuery != "" || u.Fragment != "":
		d.Errorf("url", "Invalid URL", "url holds a query or fragment; give them in path.")
	}
}

// scheme is the one of the requests.
func (g HTTP) scheme() string {
	if g.URL == "" {
		return g.Scheme
	}
	scheme, _, _ := strings.Cut(g.URL, "://")
	return strings.ToLower(scheme)
}

// parsable tries a URL whose placeholders are not known yet.
func parsable(raw string) error {
	if name := unknownPlaceholder(raw); name != "" {
		return fmt.Errorf("%s is no placeholder; known are %s", name, strings.Join(placeholders, ", "))
	}
	if _, err := url.Parse(sample(raw)); err != nil {
		if e, ok := err.(*url.Error); ok {
			err = e.Err
		}
		return err
	}
	return nil
}

func sample(raw string) string {
	for _, p := range placeholders {
		raw = strings.ReplaceAll(raw, p, "x")
	}
	return raw
}

// validHeaderName says whether every byte is a token character of RFC 9110.
func validHeaderName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}) < 0
}

func validHeaderValue(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) < 0
}

// Check implements Gate.
func (g HTTP) Check(ctx context.Context, target Target) (Finding, error) {
	serving := 0
	for _, instance := range target.Instances {
		if instance.Serving() {
			serving++
		}
	}
	need := 1
	if g.Every == EveryInstance {
		need = max(1, target.Expected)
	}
	if serving < need {
		return Finding{
			Reason: fmt.Sprintf("%d of %d instances of %s %s are ready to be asked", serving, max(need, target.Expected), target.Service, target.Colour),
		}, nil
	}
	request, err := g.prepare(target)
	if err != nil {
		return Finding{}, err
	}
	if g.Every == EveryPreview {
		return g.preview(ctx, request)
	}
	return g.instances(ctx, request, target)
}
