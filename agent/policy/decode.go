package policy

import (
	"bytes"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// maxDiagnostics bounds what is said of one file: past it, more helps nobody.
const maxDiagnostics = 100

// decoded is what one policy file says.
type decoded struct {
	policies []*Policy // those without mistakes
	declared []declaration
	jobspec  bool // a Nomad jobspec that lies among the policies
	file     *hcl.File
	diags    hcl.Diagnostics
}

// declaration is a `service` block's name and place, also when the rest of the
// block is wrong.
type declaration struct {
	service string
	at      hcl.Range
}

// decode reads one policy file's text. read gives the text of the other files
// that it names by absolute path.
func decode(src []byte, filename string, read func(path string) (string, error)) decoded {
	out := decoded{file: &hcl.File{Bytes: src}}
	file, diags := parse(src, filename)
	switch {
	case file == nil:
	case diags.HasErrors():
		// What the parser made of the rest would only give false mistakes.
		out.file, out.declared = file, declarations(file.Body)
	default:
		out.file = file
		diags = append(diags, out.decodeFile(file.Body, filename, read)...)
	}
	out.diags = tidy(diags)
	return out
}

// declarations finds the services that a file with mistakes in its syntax
// still names.
func declarations(body hcl.Body) []declaration {
	content, _, _ := body.PartialContent(&hcl.BodySchema{
		Blocks: []hcl.BlockHeaderSchema{{Type: "service", LabelNames: []string{"name"}}},
	})
	var out []declaration
	for _, block := range content.Blocks {
		if dnsLabel.MatchString(block.Labels[0]) {
			out = append(out, declaration{block.Labels[0], block.DefRange})
		}
	}
	return out
}

// tidy takes from the diagnostics the values of variables, which may be
// secrets from the environment, and bounds their number.
func tidy(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, diag := range diags {
		diag.Expression, diag.EvalContext = nil, nil
	}
	if more := len(diags) - maxDiagnostics; more > 0 {
		last := *diags[maxDiagnostics]
		last.Severity = hcl.DiagError
		last.Summary = "Too many mistakes"
		last.Detail = fmt.Sprintf("%d more from here on are not shown.", more)
		diags = append(diags[:maxDiagnostics:maxDiagnostics], &last)
	}
	return diags
}

// parse bounds what the parser is given, because the parser itself does not.
func parse(src []byte, filename string) (*hcl.File, hcl.Diagnostics) {
	if at := invalidUTF8(src); at >= 0 {
		line := 1 + bytes.Count(src[:at], []byte{'\n'})
		column := 1 + utf8.RuneCount(src[bytes.LastIndexByte(src[:at], '\n')+1:at])
		return nil, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Not a text file",
			Detail:   fmt.Sprintf("Policies are UTF-8 text; the byte 0x%02x at line %d, column %d is not. Save the file as UTF-8.", src[at], line, column),
			Subject: &hcl.Range{Filename: filename,
				Start: hcl.Pos{Line: line, Column: column, Byte: at},
				End:   hcl.Pos{Line: line, Column: column + 1, Byte: at + 1}},
		}}
	}
	if diag := checkComplexity(src, filename); diag != nil {
		return nil, hcl.Diagnostics{diag}
	}
	return hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
}

func invalidUTF8(src []byte) int {
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

func (out *decoded) decodeFile(body hcl.Body, filename string, read func(path string) (string, error)) hcl.Diagnostics {
	if isJobspec(body) {
		out.jobspec = true
		return nil
	}
	eval := evalContext(filename, read)
	d := hclbody.New("a policy file", eval)
	d.Blocks("locals")
	d.Blocks("service", "name")
	d.Decode(body)

	local, diags := decodeLocals(d.Found("locals"), eval)
	failed := diags.HasErrors()
	d.Append(diags)
	eval.Variables["local"] = local

	for _, block := range d.Found("service") {
		if dnsLabel.MatchString(block.Labels[0]) {
			out.declared = append(out.declared, declaration{block.Labels[0], block.DefRange})
		}
		p, diags := decodeService(block, eval, filename, read)
		if failed {
			diags = slices.DeleteFunc(diags, followsFromLocals)
		}
		d.Append(diags)
		if !diags.HasErrors() && !failed {
			out.policies = append(out.policies, p)
		}
	}
	return d.Diagnostics()
}

// followsFromLocals says whether a mistake is only that a local, whose own
// mistake is reported, has no value.
func followsFromLocals(diag *hcl.Diagnostic) bool { return diag.Summary == "Unknown value" }

// isJobspec recognises the user's jobspec where it lies among the policies
// under a name such as api.hcl.
func isJobspec(body hcl.Body) bool {
	b, ok := body.(*hclsyntax.Body)
	if !ok {
		return false
	}
	job := false
	for _, block := range b.Blocks {
		switch block.Type {
		case "service":
			return false
		case "job":
			job = true
		}
	}
	return job
}

// ReadFile parses any HCL file of Teal's within the bounds that hold for
// policies, and returns what its expressions may use: the same functions as in
// a policy. The file is not nil when it could be read at all.
func ReadFile(path string) (*hcl.File, *hcl.EvalContext, hcl.Diagnostics) {
	v := readVersion(path, nil, true)
	if v.err != nil {
		return nil, nil, hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "File cannot be read",
			Detail:   upperFirst(v.err.Error()) + ".",
		}}
	}
	eval := evalContext(path, func(named string) (string, error) { return textOf(named, readVersion(named, nil, true)) })
	file, diags := parse([]byte(v.text), path)
	if file == nil {
		file = &hcl.File{Body: hcl.EmptyBody(), Bytes: []byte(v.text)}
	}
	return file, eval, tidy(diags)
}

// upperFirst makes a sentence of an error's text.
func upperFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:]
}
