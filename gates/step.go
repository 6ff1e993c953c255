package gates

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Step is one request of an http gate, what its answer must be, and what of the
// answer later steps use.
type Step struct {
	Name string `json:",omitempty"` // empty for the request of a gate without steps

	Path    string
	Method  string
	Headers map[string]string
	Body    string

	Status       []int // any of them
	BodyRegex    *regexp.Regexp
	BodyContains string
	JSON         map[string]string // dotted path → value

	Save []Save `json:",omitempty"`
}

// ofStep are the arguments that a request has, in a step or by itself.
var ofStep = []string{"path", "method", "headers", "body", "status", "body_regex", "body_contains", "json"}

// stepDecoder reads a request's arguments from the body of a step, or of a gate
// that has none.
type stepDecoder struct {
	step    Step
	pattern string
}

func (s *stepDecoder) declare(d *hclbody.Decoder) {
	s.step = Step{Path: "/", Status: []int{http.StatusOK}}
	d.String("path", &s.step.Path, hclbody.NotEmpty)
	d.String("method", &s.step.Method, hclbody.OneOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
	d.StringMap("headers", &s.step.Headers)
	d.String("body", &s.step.Body)
	d.Ints("status", &s.step.Status, hclbody.Within(100, 599))
	d.String("body_regex", &s.pattern, hclbody.NotEmpty)
	d.String("body_contains", &s.step.BodyContains, hclbody.NotEmpty)
	d.StringMap("json", &s.step.JSON)
}

// finish completes and validates what was read. Saved are the names of what
// earlier steps have saved.
func (s *stepDecoder) finish(d *hclbody.Decoder, preview bool, saved []string) Step {
	step := s.step
	if step.Method == "" {
		step.Method = http.MethodGet
		if step.Body != "" {
			step.Method = http.MethodPost
		}
	}
	slices.Sort(step.Status)
	step.Status = slices.Compact(step.Status)
	if s.pattern != "" {
		step.BodyRegex = pattern(d, "body_regex", s.pattern)
	}
	step.validate(d, preview, saved)
	return step
}

// pattern compiles a regular expression, or reports why it is none.
func pattern(d *hclbody.Decoder, name, text string) *regexp.Regexp {
	re, err := regexp.Compile(text)
	if err != nil {
		d.Errorf(name, "Invalid regular expression", "%s: %s.", name, plain(err))
	}
	return re
}

// plain drops the package's name from an error of regexp.
func plain(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return fmt.Sprintf("%s: %q", e.Code, e.Expr)
	}
	return err.Error()
}

// decodeSteps reads the blocks of a sequence. A step may use what those before
// it have saved.
func decodeSteps(d *hclbody.Decoder, blocks hcl.Blocks, eval *hcl.EvalContext, preview bool) (steps []Step) {
	var saved []string
	for _, block := range blocks {
		inner := hclbody.New("step", eval)
		inner.Blocks("save", "name")
		var s stepDecoder
		s.declare(inner)
		inner.Decode(block.Body)
		step := s.finish(inner, preview, saved)
		step.Name = block.Labels[0]
		switch {
		case step.Name == "":
			inner.Append(hcl.Diagnostics{{
				Severity: hcl.DiagError,
				Summary:  "A step needs a name",
				Detail:   "The label names the step in status and records; it must not be empty.",
				Subject:  labelRange(block, 0).Ptr(),
			}})
		case slices.ContainsFunc(steps, func(other Step) bool { return other.Name == step.Name }):
			inner.Append(hcl.Diagnostics{{
				Severity: hcl.DiagError,
				Summary:  "Two steps of one name",
				Detail:   fmt.Sprintf("There is a step %q above; status and records could not tell them apart.", step.Name),
				Subject:  labelRange(block, 0).Ptr(),
			}})
		}
		step.Save = decodeSaves(inner, step, eval, saved)
		for _, save := range step.Save {
			saved = append(saved, save.Name)
		}
		d.Append(inner.Diagnostics())
		steps = append(steps, step)
	}
	return steps
}

// validate reports what only shows when the arguments are seen together.
func (s Step) validate(d *hclbody.Decoder, preview bool, saved []string) {
	if !strings.HasPrefix(s.Path, "/") {
		d.Errorf("path", "Invalid path", "path is %q; it must begin with a slash.", s.Path)
	} else if err := parsable("http://host"+s.Path, saved...); err != nil {
		d.Errorf("path", "Invalid path", "path: %s.", err)
	}
	if s.Method == http.MethodHead && s.matchesBody() {
		d.Errorf("method", "Contradictory gate", "An answer to HEAD has no body to match.")
	}
	spelled := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		value, canonical := s.Headers[name], http.CanonicalHeaderKey(name)
		if other, ok := spelled[canonical]; ok {
			d.Errorf("headers", "Contradictory gate", "%s and %s are the same header.", other, name)
		}
		spelled[canonical] = name
		switch {
		case !validHeaderName(name):
			d.Errorf("headers", "Invalid header", "%q is not a header name.", name)
		case !validHeaderValue(value):
			d.Errorf("headers", "Invalid header", "The value of %s holds a line break or another control character.", name)
		case canonical == PreviewHeader && preview:
			d.Errorf("headers", "Contradictory gate", "%s is set by Teal to the candidate's colour.", name)
		}
		unsaved(d, "headers", value, saved)
	}
	unsaved(d, "body", s.Body, saved)
	unsaved(d, "body_contains", s.BodyContains, saved)
	for _, path := range slices.Sorted(maps.Keys(s.JSON)) {
		validJSONPath(d, path)
		unsaved(d, "json", s.JSON[path], saved)
	}
}

// unsaved reports placeholders of what no earlier step has saved.
func unsaved(d *hclbody.Decoder, name, text string, saved []string) {
	for _, found := range placeholder.FindAllString(text, -1) {
		if of, ok := savedName(found); ok && !slices.Contains(saved, of) {
			d.Errorf(name, "Nothing saved", "%s stands for nothing that an earlier step has saved.", found)
		}
	}
}

func validJSONPath(d *hclbody.Decoder, path string) {
	if slices.Contains(strings.Split(path, "."), "") {
		d.Errorf("json", "Invalid JSON path", "%q has an empty part; write keys and indices with dots between, such as \"checks.0.status\".", path)
	}
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

// matchesBody says whether anything is expected of the answer's body.
func (s Step) matchesBody() bool {
	return s.BodyRegex != nil || s.BodyContains != "" || len(s.JSON) > 0
}

// readsBody says whether the body is needed to judge the answer.
func (s Step) readsBody() bool {
	return s.matchesBody() || slices.ContainsFunc(s.Save, func(save Save) bool { return save.Header == "" })
}

// fill puts in what the placeholders stand for.
func (s Step) fill(e expander) (Step, error) {
	var errs []error
	fill := func(text string, expand func(string) (string, error)) string {
		out, err := expand(text)
		if err != nil {
			errs = append(errs, err)
		}
		return out
	}
	filled := s
	filled.Path = fill(s.Path, e.url)
	filled.Body = fill(s.Body, e.text)
	filled.BodyContains = fill(s.BodyContains, e.text)
	filled.Headers = map[string]string{}
	for name, value := range s.Headers {
		value = fill(value, e.text)
		if !validHeaderValue(value) {
			errs = append(errs, fmt.Errorf("the value of header %s holds a control character", name))
		}
		filled.Headers[name] = value
	}
	filled.JSON = map[string]string{}
	for path, value := range s.JSON {
		filled.JSON[path] = fill(value, e.text)
	}
	if len(errs) > 0 {
		return Step{}, errs[0]
	}
	return filled, nil
}
