package gates

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goversion "github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/redact"
)

// Depends is the gate of kind "depends": another service that Teal manages
// serves a version that this one needs, is healthy, and is not being released.
//
// A service at another version, or with too few healthy instances, fails the
// gate. One that is being released holds it, as its version may change back;
// so does one of which nothing is known.
type Depends struct {
	Service string
	Version string // exact, or constraints as ">= 2.1, < 3"; empty: any

	allowed goversion.Constraints // nil for an exact version that is none of numbers
}

// Peer is another service as it serves now.
type Peer struct {
	Managed   bool              // Teal moves its traffic, and has not given it back
	Active    deployment.Colour // None before its first release
	Version   string            // of the active colour; may be empty
	Releasing string            // what is being released, "2.2.0 is watching"; empty: nothing

	// Instances are those of the active colour as Consul has them now, of which
	// Expected should be there.
	Instances []deployment.Instance
	Expected  int
}

// operators are what tells a constraint from an exact version.
const operators = "<>=!~,"

func decodeDepends(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	var g Depends
	d := hclbody.New(`gate "depends"`, eval)
	d.String("service", &g.Service, hclbody.Required, hclbody.NotEmpty)
	d.String("version", &g.Version, hclbody.NotEmpty)
	d.Elsewhere(shared...)
	d.Decode(body)
	if strings.Contains(g.Service, "/") {
		d.Errorf("service", "Not a service", "%q cannot be the name of a Consul service.", g.Service)
	}
	var err error
	if g.Version != "" {
		g.allowed, err = goversion.NewConstraint(g.Version)
	}
	if err != nil && strings.ContainsAny(g.Version, operators) {
		d.Errorf("version", "Wrong version constraint", "%q is no constraint; write an exact version, \"2.1.0\", or constraints, \">= 2.1, < 3\", with the operators =, !=, >, >=, <, <= and ~>.", g.Version)
	}
	if g.allowed != nil && !satisfiable(g.allowed, g.Version) {
		d.Errorf("version", "Contradictory constraints", "No version is %q: the constraints rule each other out.", g.Version)
	}
	return g, d.Diagnostics()
}

// satisfiable says whether any version is within constraints: if one is, then so is
// the least of all, one of those that they name, or the next after one of these. Of
// pre-releases, which have an order of their own, it is not known.
func satisfiable(all goversion.Constraints, text string) bool {
	if strings.Contains(text, "-") {
		return true
	}
	tries := []string{"0"}
	for _, named := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(operators+" ", r) }) {
		tries = append(tries, named)
		if v, err := goversion.NewVersion(named); err == nil {
			tries = append(tries, strings.Trim(strings.ReplaceAll(fmt.Sprint(v.Segments()), " ", "."), "[]")+".1")
		}
	}
	return slices.ContainsFunc(tries, func(try string) bool {
		v, err := goversion.NewVersion(try)
		return err == nil && all.Check(v)
	})
}

// Check implements Gate.
func (g Depends) Check(ctx context.Context, target Target) (Finding, error) {
	peer, err := target.Peer(ctx, g.Service)
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Figures: map[string]string{"service": g.Service}}
	if peer != nil {
		f.Figures["version"], f.Figures["colour"] = peer.Version, peer.Active.String()
	}
	switch {
	case peer == nil:
		f.Reason = fmt.Sprintf("there is no service %s that Teal manages", g.Service)
		return f, nil
	case !peer.Managed:
		f.Reason = g.Service + " is not managed by Teal any more: nobody knows its version"
		return f, nil
	case peer.Releasing != "":
		f.Reason = fmt.Sprintf("%s is being released: %s", g.Service, redact.Cut(redact.Line(peer.Releasing), maxExcerpt))
		return f, nil
	case !peer.Active.Valid():
		f.Reason = g.Service + " has not been released yet"
		return f, nil
	}
	shown := redact.Cut(redact.Line(peer.Version), maxExcerpt)
	switch verdict, why := g.allows(peer.Version); verdict {
	case Fail:
		f.Verdict, f.Reason = Fail, fmt.Sprintf("%s is at %s, and %s is needed", g.Service, shown, g.Version)
		return f, nil
	case Hold:
		f.Reason = g.Service + " " + why
		return f, nil
	}
	healthy := 0
	for _, i := range peer.Instances {
		if i.Health == deployment.Passing {
			healthy++
		}
	}
	f.Figures["healthy"], f.Figures["expected"] = strconv.Itoa(healthy), strconv.Itoa(peer.Expected)
	if healthy == 0 || healthy < peer.Expected {
		f.Verdict, f.Reason = Fail, fmt.Sprintf("%s is not healthy: %d of %d instances of %s pass their checks", g.Service, healthy, max(1, peer.Expected), peer.Active)
		return f, nil
	}
	f.Verdict, f.Reason = Pass, fmt.Sprintf("%s is at %s on %s, and %d of %d instances are healthy", g.Service, shown, peer.Active, healthy, peer.Expected)
	return f, nil
}

// allows holds a version against the one that is needed. Hold means that it
// cannot be compared, and why.
func (g Depends) allows(have string) (verdict Verdict, why string) {
	switch {
	case g.Version == "" || have != "" && have == g.Version:
		return Pass, ""
	case have == "":
		return Hold, "has no version: its policy's version_variable names none"
	case g.allowed == nil:
		return Fail, "" // two names, and not the same
	}
	number, err := goversion.NewVersion(have)
	switch {
	case err != nil && !strings.ContainsAny(g.Version, operators):
		return Fail, ""
	case err != nil:
		return Hold, fmt.Sprintf("is at %s, which is no version that %s could be held against", redact.Cut(redact.Line(have), maxExcerpt), g.Version)
	case g.allowed.Check(number):
		return Pass, ""
	}
	return Fail, ""
}
