package gates

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// maxSaved bounds a saved value: more than any token, and less than a page that
// a pattern without an end has swallowed.
const maxSaved = 4 << 10

// Save is a value that a step takes from its answer for the steps after it.
// Exactly one of JSON, Regex and Header says where it is. What was saved is
// treated as a secret.
type Save struct {
	Name   string
	JSON   string         `json:",omitempty"` // dotted path
	Regex  *regexp.Regexp `json:",omitempty"` // in the body: its group, or all of it
	Header string         `json:",omitempty"`
}

var saveName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func decodeSaves(d *hclbody.Decoder, step Step, eval *hcl.EvalContext, before []string) (saves []Save) {
	known := slices.Clone(before)
	for _, block := range d.Found("save") {
		s := Save{Name: block.Labels[0]}
		var text string
		inner := hclbody.New("save", eval)
		inner.String("json", &s.JSON, hclbody.NotEmpty)
		inner.String("regex", &text, hclbody.NotEmpty)
		inner.String("header", &s.Header, hclbody.NotEmpty)
		inner.Decode(block.Body)
		name := func(summary, format string, args ...any) {
			inner.Append(hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: labelRange(block, 0).Ptr()}})
		}
		switch {
		case !saveName.MatchString(s.Name):
			name("Invalid name", "%q cannot stand in {saved.…}: a letter or _ and then letters, digits and _ can.", s.Name)
		case slices.Contains(known, s.Name):
			name("Saved twice", "%s is saved already; {saved.%s} could mean either.", s.Name, s.Name)
		}
		known = append(known, s.Name)

		var from []string
		for _, attr := range []string{"json", "regex", "header"} {
			if inner.Has(attr) {
				from = append(from, attr)
			}
		}
		switch {
		case len(from) == 0:
			name("Nothing to save", "Say where the value of %s is with json, regex or header.", s.Name)
		case len(from) > 1:
			inner.Errorf(from[1], "Contradictory save", "%s says where the value is, and so does %s; give one.", from[0], from[1])
		}
		if s.JSON != "" {
			validJSONPath(inner, s.JSON)
		}
		if text != "" {
			if s.Regex = pattern(inner, "regex", text); s.Regex != nil && s.Regex.NumSubexp() > 1 {
				inner.Errorf("regex", "Too many groups", "The value is what the group matched, and there are %d; write (?:…) for those that are not meant.", s.Regex.NumSubexp())
			}
		}
		if s.Header != "" && !validHeaderName(s.Header) {
			inner.Errorf("header", "Invalid header", "%q is not a header name.", s.Header)
		}
		if step.Method == http.MethodHead && s.Header == "" && len(from) > 0 {
			inner.Errorf(from[0], "Contradictory step", "An answer to HEAD has no body to save from.")
		}
		d.Append(inner.Diagnostics())
		saves = append(saves, s)
	}
	return saves
}

// from finds the value in an answer. Wrong says why there is none, without
// showing any of the answer.
func (s Save) from(header http.Header, body []byte) (value, wrong string) {
	where := ""
	switch {
	case s.Header != "":
		where = "header " + s.Header
		value = header.Get(s.Header)
	case s.Regex != nil:
		where = fmt.Sprintf("a match of %q", s.Regex)
		if found := s.Regex.FindSubmatch(body); found != nil {
			value = string(found[len(found)-1])
		}
	default:
		where = s.JSON + " in its JSON"
		var problem string
		if value, problem = scalar(body, s.JSON); problem != "" {
			return "", problem + s.wanted()
		}
	}
	switch {
	case value == "":
		return "", "answered without " + where + s.wanted()
	case len(value) > maxSaved:
		return "", fmt.Sprintf("answered %d bytes in %s, more than %d%s", len(value), where, maxSaved, s.wanted())
	}
	return value, ""
}

func (s Save) wanted() string { return fmt.Sprintf(", which is to be saved as %s", s.Name) }

// scalar is the string, number or boolean at a path in JSON, or why there is
// none.
func scalar(body []byte, path string) (value, problem string) {
	root, err := parseJSON(body)
	if err != nil {
		return "", "answered a body that is not JSON: " + err.Error()
	}
	at, ok := follow(root, strings.Split(path, "."))
	if !ok {
		return "", ""
	}
	switch v := at.(type) {
	case string:
		return v, ""
	case json.Number:
		return v.String(), ""
	case bool:
		return fmt.Sprint(v), ""
	case nil:
		return "", fmt.Sprintf("answered JSON where %s is null", path)
	case []any:
		return "", fmt.Sprintf("answered JSON where %s is an array", path)
	}
	return "", fmt.Sprintf("answered JSON where %s is an object", path)
}
