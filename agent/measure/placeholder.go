package measure

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// placeholderLike is a word in braces, and not the class of characters that \p{…} is
// in a regular expression.
var placeholderLike = regexp.MustCompile(`(\\[pP])?\{[A-Za-z_][A-Za-z0-9_.]*\}`)

// Stray finds what looks like a placeholder and is none, or is empty. Only texts in
// which a word in braces has no other meaning are to be searched. More are those that
// are known besides Placeholders.
func Stray(text string, more ...string) string {
	for _, found := range placeholderLike.FindAllString(text, -1) {
		if found[0] == '{' && !slices.Contains(Placeholders, found) && !slices.Contains(more, found) {
			return found
		}
	}
	return ""
}

// NoStray reports what looks like a placeholder in an argument's text and is none: it
// would be asked for as it stands, and never be found.
func NoStray(d *hclbody.Decoder, name, text string, more ...string) {
	if found := Stray(text, more...); found != "" {
		d.Errorf(name, "Unknown placeholder", "%s", NoPlaceholder(found, more...))
	}
}

// NoPlaceholder is the sentence about one that is none.
func NoPlaceholder(found string, more ...string) string {
	return fmt.Sprintf("%s is no placeholder; known are %s.", found, strings.Join(slices.Concat(Placeholders, more), ", "))
}
