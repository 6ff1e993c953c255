package gates

import (
	"context"
	"net/url"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
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

// HTTP is the gate of kind "http": a request, or a sequence of them, and what
// the answers must be.
//
// In URL and in the texts of a step, {colour}, {version} and {service} stand
// for the candidate's, and {saved.name} for what an earlier step has saved.
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

	// Steps are taken one after another; a gate without step blocks has one of
	// its own, which has no name.
	Steps []Step

	TLS             *measure.TLS `json:",omitempty"`
	FollowRedirects bool
}

// maxSteps keeps a generated policy from asking for ever.
const maxSteps = 50

func decodeHTTP(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	g := HTTP{Every: EveryInstance, Scheme: "http"}
	d := hclbody.New(`gate "http"`, eval)
	d.String("every", &g.Every, hclbody.OneOf(EveryInstance, EveryAny, EveryPreview))
	d.String("url", &g.URL, hclbody.NotEmpty)
	d.String("scheme", &g.Scheme, hclbody.OneOf("http", "https"))
	d.Int("port", &g.Port, hclbody.Within(1, 65535))
	d.Bool("follow_redirects", &g.FollowRedirects)
	d.Block("tls")
	d.Blocks("step", "name")
	var own stepDecoder
	own.declare(d)
	d.Elsewhere(shared...)
	d.Decode(body)

	g.TLS = measure.TLSIn(d, eval)
	g.validate(d)
	blocks := d.Found("step")
	if len(blocks) == 0 {
		g.Steps = []Step{own.finish(d, g.Previews(), nil)}
		g.checkPreview(d)
		return g, d.Diagnostics()
	}
	for _, name := range ofStep {
		if d.Has(name) {
			d.Errorf(name, "Contradictory gate", "%s belongs into a step where there are steps.", name)
		}
	}
	if len(blocks) > maxSteps {
		d.Errorf("step", "Too many steps", "%d steps are too many for one gate; at most %d.", len(blocks), maxSteps)
	}
	g.Steps = decodeSteps(d, blocks, eval, g.Previews())
	g.checkPreview(d)
	return g, d.Diagnostics()
}

// validate reports what only shows when the attributes are seen together.
func (g HTTP) validate(d *hclbody.Decoder) {
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
	if !strings.Contains(g.URL, "{") {
		g.TLS.CheckScheme(d, g.scheme())
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

// Check implements Gate.
func (g HTTP) Check(ctx context.Context, target Target) (Finding, error) {
	if reason := unready(target, g.Every); reason != "" {
		return Finding{Reason: reason}, nil
	}
	l, err := g.prepare(target)
	if err != nil {
		return Finding{}, err
	}
	if g.Previews() {
		return l.preview(ctx)
	}
	return each{
		every: g.Every, what: l.what(), port: g.Port, secure: g.Scheme == "https", tls: g.TLS,
		ask: func(ctx context.Context, host string) answer { return l.visit().walk(ctx, g.Scheme+"://"+host) },
	}.judge(ctx, target)
}
