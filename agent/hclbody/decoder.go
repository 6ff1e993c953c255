// Package hclbody reads the attributes and blocks of one HCL body into Go
// values, over defaults, and reports every mistake at once with its place:
// unknown names with the known ones listed, wrong types, values out of range.
// It holds what policies, gates and triggers would otherwise each do a little
// differently; it knows nothing of any of them.
//
// A decoder is declared, then fed, then asked:
//
//	every, timeout := "instance", 5*time.Second
//	d := hclbody.New(`gate "http"`, eval)
//	d.String("every", &every, hclbody.OneOf("instance", "any"))
//	d.Duration("timeout", &timeout)
//	d.Block("probe")
//	d.Decode(body)
//	if !d.Has("every") && timeout > time.Minute {
//		d.Errorf("timeout", "Timeout too long", "…")
//	}
//	return d.Diagnostics()
//
// A variable whose attribute is absent, null or wrong keeps the value it had.
package hclbody

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Decoder collects what a body may hold, then what it holds. It is used once
// and by one goroutine.
type Decoder struct {
	what      string // the block as a person writes it, for messages
	eval      *hcl.EvalContext
	fields    []field
	headers   []hcl.BlockHeaderSchema
	single    map[string]bool
	elsewhere []string

	attrs   hcl.Attributes
	blocks  hcl.Blocks
	missing hcl.Range
	diags   hcl.Diagnostics
}

// field is one declared attribute.
type field struct {
	name string
	rule rule
	read func(cty.Value, rule) error // nil error: value taken
}

// New starts a decoder. What names the block in messages, for example
// `gate "http"`; eval holds the variables and functions expressions may use
// and may be nil.
func New(what string, eval *hcl.EvalContext) *Decoder {
	return &Decoder{what: what, eval: eval, single: map[string]bool{}}
}

// Block declares a block that may stand at most once.
func (d *Decoder) Block(name string, labels ...string) {
	d.Blocks(name, labels...)
	d.single[name] = true
}

// Blocks declares a block that may stand any number of times.
func (d *Decoder) Blocks(name string, labels ...string) {
	d.headers = append(d.headers, hcl.BlockHeaderSchema{Type: name, LabelNames: labels})
}

// Elsewhere names attributes that another decoder takes from the same body
// first. They are listed among the known names, and refused when they come.
func (d *Decoder) Elsewhere(names ...string) {
	d.elsewhere = append(d.elsewhere, names...)
}

// Decode reads the whole body: whatever was not declared is a mistake.
func (d *Decoder) Decode(body hcl.Body) {
	content, diags := body.Content(d.schema(true))
	for _, diag := range diags {
		// The two ways in which hcl says that a name is not in the schema, in
		// native syntax and in JSON.
		if strings.HasPrefix(diag.Summary, "Unsupported ") || diag.Summary == "Extraneous JSON object property" {
			diag.Detail = strings.TrimSpace(diag.Detail) + " " + d.known()
		}
	}
	d.take(content, diags)
	for _, name := range d.elsewhere {
		if attr, ok := d.attrs[name]; ok {
			d.diags = append(d.diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Unsupported argument",
				Detail:   fmt.Sprintf("An argument named %q is not expected here. %s", name, d.known()),
				Subject:  attr.NameRange.Ptr(),
			})
		}
	}
}

// DecodePartly reads what was declared and returns the rest of the body for
// another decoder, which is to be told the names by Elsewhere.
func (d *Decoder) DecodePartly(body hcl.Body) hcl.Body {
	content, rest, diags := body.PartialContent(d.schema(false))
	d.take(content, diags)
	return rest
}

// Names lists the declared attributes, as Elsewhere of the next decoder wants
// them.
func (d *Decoder) Names() []string {
	names := make([]string, len(d.fields))
	for i, f := range d.fields {
		names[i] = f.name
	}
	return names
}

// Has says whether the attribute stands in the body with a value, right or
// wrong.
func (d *Decoder) Has(name string) bool {
	_, ok := d.attrs[name]
	return ok
}

// Found returns the blocks of one type in the order they stand.
func (d *Decoder) Found(name string) hcl.Blocks {
	return d.blocks.OfType(name)
}

// InOrder returns the blocks of several types as they stand in the file.
func (d *Decoder) InOrder(names ...string) hcl.Blocks {
	var found hcl.Blocks
	for _, block := range d.blocks {
		if slices.Contains(names, block.Type) {
			found = append(found, block)
		}
	}
	slices.SortStableFunc(found, func(a, b *hcl.Block) int { return cmp.Compare(a.DefRange.Start.Byte, b.DefRange.Start.Byte) })
	return found
}

// Range is where the attribute's value stands, or where it would have to.
func (d *Decoder) Range(name string) hcl.Range {
	if attr, ok := d.attrs[name]; ok {
		return attr.Expr.Range()
	}
	return d.missing
}

// Errorf reports a mistake in an attribute's value, at its place.
func (d *Decoder) Errorf(name, summary, format string, args ...any) {
	diag := &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   fmt.Sprintf(format, args...),
		Subject:  d.Range(name).Ptr(),
	}
	if attr, ok := d.attrs[name]; ok {
		diag.Context = attr.Range.Ptr()
	}
	d.diags = append(d.diags, diag)
}

// Append adds mistakes found by somebody else, such as the decoder of a nested
// block.
func (d *Decoder) Append(diags hcl.Diagnostics) { d.diags = append(d.diags, diags...) }

// Diagnostics returns everything that was found, in the order of the file.
func (d *Decoder) Diagnostics() hcl.Diagnostics {
	slices.SortStableFunc(d.diags, func(a, b *hcl.Diagnostic) int {
		return cmp.Compare(offset(a), offset(b))
	})
	return d.diags
}

func offset(diag *hcl.Diagnostic) int {
	if diag.Subject == nil {
		return 0
	}
	return diag.Subject.Start.Byte
}

func (d *Decoder) schema(whole bool) *hcl.BodySchema {
	schema := &hcl.BodySchema{Blocks: d.headers}
	for _, f := range d.fields {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: f.name})
	}
	if whole { // so that hcl suggests them for a slip of the pen
		for _, name := range d.elsewhere {
			schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
		}
	}
	return schema
}

func (d *Decoder) take(content *hcl.BodyContent, diags hcl.Diagnostics) {
	d.diags = append(d.diags, diags...)
	if content == nil {
		return
	}
	d.attrs, d.blocks, d.missing = content.Attributes, content.Blocks, content.MissingItemRange
	for name := range d.single {
		for _, block := range d.Found(name)[min(1, len(d.Found(name))):] {
			d.diags = append(d.diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  fmt.Sprintf("Second %s block", name),
				Detail:   fmt.Sprintf("Only one %s block is allowed in %s; the first is at %s.", name, d.what, d.Found(name)[0].DefRange),
				Subject:  block.DefRange.Ptr(),
			})
		}
	}
	for _, f := range d.fields {
		d.read(f)
	}
}

func (d *Decoder) read(f field) {
	attr, ok := d.attrs[f.name]
	if ok {
		value, diags := Evaluate(attr.Expr, d.eval)
		d.diags = append(d.diags, diags...)
		if diags.HasErrors() {
			return
		}
		value, _ = value.UnmarkDeep()
		switch {
		case !value.IsWhollyKnown():
			d.Errorf(f.name, "Unknown value", "The value of %s in %s is not known when the file is read.", f.name, d.what)
			return
		case !value.IsNull():
			if err := f.read(value, f.rule); err != nil {
				d.Errorf(f.name, fmt.Sprintf("Wrong value for %s", f.name), "%s in %s: %s.", f.name, d.what, err)
			}
			return
		}
		delete(d.attrs, f.name) // null is how HCL says "not set"
	}
	if f.rule.required {
		d.diags = append(d.diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "Missing required argument",
			Detail:   fmt.Sprintf("The argument %q is required in %s, but no definition was found.", f.name, d.what),
			Subject:  d.missing.Ptr(),
		})
	}
}

func (d *Decoder) known() string {
	attrs := append(d.Names(), d.elsewhere...)
	slices.Sort(attrs)
	var blocks []string
	for _, h := range d.headers {
		blocks = append(blocks, h.Type)
	}
	slices.Sort(blocks)
	var parts []string
	if len(attrs) > 0 {
		parts = append(parts, "arguments "+strings.Join(attrs, ", "))
	}
	if len(blocks) > 0 {
		parts = append(parts, "blocks "+strings.Join(blocks, ", "))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s takes neither arguments nor blocks.", d.what)
	}
	return fmt.Sprintf("Known in %s: %s.", d.what, strings.Join(parts, "; "))
}

// Unknown is the diagnostic for a name that is not among the known ones, such
// as a gate's kind: it lists them and suggests the nearest, or the one that meant says
// is known elsewhere by this name.
func Unknown(what, name string, known []string, meant map[string]string, at hcl.Range) *hcl.Diagnostic {
	detail := fmt.Sprintf("There is no %s %q.", what, name)
	if near := cmp.Or(meant[strings.ToLower(name)], nearest(name, known)); near != "" {
		detail += fmt.Sprintf(" Did you mean %q?", near)
	}
	sorted := slices.Sorted(slices.Values(known))
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Unknown " + what,
		Detail:   fmt.Sprintf("%s Known: %s.", detail, strings.Join(sorted, ", ")),
		Subject:  at.Ptr(),
	}
}
