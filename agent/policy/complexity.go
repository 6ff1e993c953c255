package policy

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxFileSize bounds every file that is read: policies, jobspecs, and what
// file() reads.
const maxFileSize = 1 << 20

// maxComplexity bounds brackets within brackets and operators within one
// expression. Reading and evaluating HCL recurses once for each of them, and a
// goroutine's stack is finite: without a bound one hostile file ends the agent.
const maxComplexity = 500

// checkComplexity looks at the tokens alone, without recursion, and returns
// the diagnostic for the first place that is too deep.
func checkComplexity(src []byte, filename string) *hcl.Diagnostic {
	if cannotBeComplex(src) {
		return nil
	}
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports its mistakes
	type level struct {
		body  bool // a newline ends the item, as in blocks and objects
		chain int  // operators in the item so far
	}
	levels := []level{{body: true}}
	total := 0 // operators in all open levels
	restart := func(top *level) {
		total -= top.chain
		top.chain = 0
	}
	for _, token := range tokens {
		top := &levels[len(levels)-1]
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen,
			hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp:
			// A bracket after an operand wraps it once more: a[0][0], f()().
			top.chain++
			total++
			levels = append(levels, level{body: token.Type == hclsyntax.TokenOBrace})
		case hclsyntax.TokenTemplateControl:
			// %{ if … } nests until its endif, beyond its own closing brace.
			top.chain++
			total++
			levels = append(levels, level{})
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen,
			hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			restart(top)
			if len(levels) > 1 {
				levels = levels[:len(levels)-1]
			}
		case hclsyntax.TokenComma:
			restart(top)
		case hclsyntax.TokenNewline:
			if top.body {
				restart(top)
			}
		case hclsyntax.TokenDot, hclsyntax.TokenQuestion, hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus,
			hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent, hclsyntax.TokenAnd, hclsyntax.TokenOr,
			hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
			hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq:
			top.chain++
			total++
		}
		if total+len(levels) > maxComplexity {
			return &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Too deeply nested",
				Detail:   fmt.Sprintf("At most %d brackets and operators may be nested or chained in one expression. Split it with locals.", maxComplexity),
				Subject:  token.Range.Ptr(),
			}
		}
	}
	return nil
}

// cannotBeComplex saves ordinary files the second look at their tokens: every
// token that counts begins with one of these characters.
func cannotBeComplex(src []byte) bool {
	n := 0
	for _, c := range src {
		switch c {
		case '(', '[', '{', '"', '<', '>', '.', '?', '!', '-', '+', '*', '/', '%', '$', '&', '|', '=':
			n++
		}
	}
	return n < maxComplexity/2 // a bracket counts twice: itself, and what is in it
}
