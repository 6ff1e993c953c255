package gates

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// An entry point that does not know the preview header, or does not pass it on,
// has a request answered by the colour that serves. Status and time say nothing of
// who it was; so a preview gate has to expect something that the candidate says of
// itself and the active colour cannot.

// Previews says that a gate asks through the preview route.
func (g HTTP) Previews() bool { return g.Every == EveryPreview }

// checkPreview refuses a preview gate that anybody's answer would satisfy.
func (g HTTP) checkPreview(d *hclbody.Decoder) {
	if !g.Previews() || slices.ContainsFunc(g.Steps, Step.names) {
		return
	}
	d.Errorf("every", "Colours not told apart", `Where an entry point does not pass the header %s on, the colour that serves answers, and that answer would do. Expect what only the candidate says of itself, with {colour} or {version} in json or body_contains; for example json = { version = "{version}" }.`, PreviewHeader)
}

// names says whether a step expects what depends on who answers.
func (s Step) names() bool {
	depends := func(text string) bool {
		return strings.Contains(text, "{colour}") || strings.Contains(text, "{version}")
	}
	for _, value := range s.JSON {
		if depends(value) {
			return true
		}
	}
	return depends(s.BodyContains)
}

// differs says whether an answer that is as expected of the candidate cannot be as
// it would be of the active colour.
func (s Step) differs(active Step) bool {
	for path, value := range s.JSON {
		if other := active.JSON[path]; other != value && !sameNumber(other, value) {
			return true
		}
	}
	return s.BodyContains != "" && !strings.Contains(active.BodyContains, s.BodyContains)
}

// active is the colour that serves as if it were the candidate; false if there is
// none. A version that is not known is taken for another one.
func (t Target) active() (Target, bool) {
	active := t
	active.Colour, active.Version = t.Serving, t.ServingVersion
	if active.Version == "" {
		active.Version = "a version that is not known"
	}
	return active, t.Serving.Valid()
}

// alike says why nobody could tell from an answer who gave it, or nothing.
func (l look) alike() string {
	active, ok := l.target.active()
	if !ok {
		return "" // nobody else is there to answer
	}
	for _, step := range l.Steps {
		mine, err := step.fill(expander{target: l.target})
		theirs, err2 := step.fill(expander{target: active})
		if err == nil && err2 == nil && mine.differs(theirs) {
			return ""
		}
	}
	return fmt.Sprintf("what is expected of %s (%s) would be as right of %s (%s), which serves: it could not be told who answers; let json or body_contains name what differs, such as {colour}",
		l.target.Colour, l.target.Version, active.Colour, active.Version)
}

// servesInstead says whether a body that is not as expected of the candidate is as
// the active colour's would be.
func (v *visit) servesInstead(step Step, body []byte) bool {
	active, ok := v.target.active()
	if !v.Previews() || !ok || !step.names() {
		return false
	}
	theirs, err := step.fill(expander{active, v.saved})
	return err == nil && v.mismatch(theirs, body) == ""
}

// preview asks through the entry point.
func (l look) preview(ctx context.Context) (Finding, error) {
	if why := l.alike(); why != "" {
		return Finding{Reason: why}, nil
	}
	a := l.visit().walk(ctx, strings.TrimSuffix(l.URL, "/"))
	if a.err != nil {
		return Finding{}, fmt.Errorf("entry point %s: %s%s", l.URL, a.at(), advised(a.err, "the entry point", l.scheme() == "https", l.TLS))
	}
	finding := Finding{Verdict: Pass, Figures: a.figures()}
	finding.Figures["url"] = l.URL
	finding.Reason = fmt.Sprintf("%s through %s answered as expected", l.what(), l.URL)
	switch {
	case a.unknown != "":
		finding.Verdict = Hold
		finding.Reason = fmt.Sprintf("%s through %s %s", l.what(), l.URL, a.unknown)
	case a.wrong != "":
		finding.Verdict = Fail
		finding.Reason = fmt.Sprintf("%s through %s %s", l.what(), l.URL, a.wrong)
	}
	return finding, nil
}
