package policy

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// expression writes a wholly known value as HCL that evaluates to it again, on
// one line.
func expression(val cty.Value) string {
	var b strings.Builder
	writeExpression(&b, val)
	return b.String()
}

func writeExpression(b *strings.Builder, val cty.Value) {
	t := val.Type()
	switch {
	case val.IsNull():
		b.WriteString("null")
	case t == cty.String:
		quote(b, val.AsString())
	case t == cty.Bool:
		fmt.Fprint(b, val.True())
	case t == cty.Number:
		number := val.AsBigFloat()
		format := byte('f')
		if exponent := number.MantExp(nil); exponent > 256 || exponent < -256 {
			format = 'g' // 1e+300 must not become three hundred digits
		}
		b.WriteString(number.Text(format, -1))
	case t.IsObjectType() || t.IsMapType():
		b.WriteString("{")
		separator := " "
		for it := val.ElementIterator(); it.Next(); separator = ", " {
			key, value := it.Element()
			b.WriteString(separator)
			quote(b, key.AsString())
			b.WriteString(" = ")
			writeExpression(b, value)
		}
		b.WriteString(" }")
	default: // tuple, list, set
		b.WriteString("[")
		separator := ""
		for it := val.ElementIterator(); it.Next(); separator = ", " {
			_, value := it.Element()
			b.WriteString(separator)
			writeExpression(b, value)
		}
		b.WriteString("]")
	}
}

// quote writes a string so that nothing in it is read as syntax: quotes,
// backslashes, control characters, and the openings ${ and %{ of templates.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	runes := []rune(s)
	for i, r := range runes {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case (r == '$' || r == '%') && i+1 < len(runes) && runes[i+1] == '{':
			b.WriteRune(r)
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 1<<16:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
}

// literal evaluates an expression that refers to nothing.
func literal(text string) (cty.Value, bool) {
	if text == "" || len(text) > maxFileSize || checkComplexity([]byte(text), "") != nil {
		return cty.NilVal, false
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() || reckons(expr) {
		return cty.NilVal, false
	}
	val, diags := hclbody.Evaluate(expr, nil)
	if diags.HasErrors() || !val.IsWhollyKnown() || val.IsNull() {
		return cty.NilVal, false
	}
	return val, true
}

// reckons says whether an operator stands in an expression, but for a number's sign:
// 2026-11 is a version that somebody gave, and not 2015.
func reckons(expr hclsyntax.Expression) bool {
	found := false
	hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		switch n := n.(type) {
		case *hclsyntax.BinaryOpExpr:
			found = true
		case *hclsyntax.UnaryOpExpr:
			if _, number := n.Val.(*hclsyntax.LiteralValueExpr); !number {
				found = true
			}
		}
		return nil
	})
	return found
}
