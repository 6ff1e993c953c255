// Package redact takes secrets out of texts from outside before people read them:
// who is asked can echo whatever it was sent.
package redact

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Redacted stands in a secret's place.
const Redacted = "[redacted]"

// sensitive finds headers that people echo in error pages, whatever their
// values are.
var sensitive = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-(?:[a-z0-9]+-)*token|x-api-key)(\\?["']?\s*[:=]\s*\[?\s*)(\\?"[^"\r\n]*|\\?'[^'\r\n]*|[^\r\n]*)`)

// Secrets are texts that must not appear in evidence, the longest first.
type Secrets []string

// Spelled are values in the forms in which an answer may echo them.
func Spelled(values ...string) Secrets {
	found := map[string]bool{}
	for _, s := range values {
		s = strings.TrimSpace(s)
		if Line(s) == "" {
			continue
		}
		found[s] = true
		found[Line(s)] = true
		found[url.QueryEscape(s)] = true
		found[url.PathEscape(s)] = true
		found[InURL(s)] = true
		found[html.EscapeString(s)] = true
		quoted := strconv.Quote(s) // as Go's own errors have it
		found[quoted[1:len(quoted)-1]] = true
		if quoted, err := json.Marshal(s); err == nil {
			found[string(quoted[1:len(quoted)-1])] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), longest)
}

// longest orders secrets so that no part of one is left.
func longest(a, b string) int {
	return cmp.Or(len(b)-len(a), strings.Compare(a, b))
}

// And adds more secrets to those that are known.
func (s Secrets) And(more Secrets) Secrets {
	all := slices.SortedFunc(slices.Values(slices.Concat(s, more)), longest)
	return slices.Compact(all)
}

// Scrub removes the secrets, and makes the text one printable line.
func (s Secrets) Scrub(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "\x00")
	}
	text = sensitive.ReplaceAllString(text, "${1}${2}\x00")
	text = Line(strings.ReplaceAll(text, "\x00", Redacted))
	// Only now, on one line, may a secret with blanks in it show.
	pieces := strings.Split(text, Redacted)
	for i := range pieces {
		for _, secret := range s {
			pieces[i] = strings.ReplaceAll(pieces[i], secret, "\x00")
		}
		pieces[i] = whole(strings.ReplaceAll(pieces[i], "\x00", Redacted))
	}
	return strings.Join(pieces, Redacted)
}

// ScrubCut is Scrub for a text whose end is missing: the last of it may be the first
// half of a secret.
func (s Secrets) ScrubCut(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "\x00")
	}
	return strings.TrimRight(whole(s.unbegun(s.Scrub(s.unbegun(text)))), " ")
}

// whole is a line without half a character: a secret that is no text may have stood
// across one. Nothing takes its place, for a dot may be what Line makes of a secret.
func whole(line string) string { return strings.ToValidUTF8(line, "") }

// unbegun is a text without a secret that begins in it and does not end.
func (s Secrets) unbegun(text string) string {
	most := 0
	for _, secret := range s {
		for n := min(len(secret)-1, len(text)); n > most; n-- {
			if strings.HasSuffix(text, secret[:n]) {
				most = n
			}
		}
	}
	return text[:len(text)-most]
}

// minRest is how long the rest of a secret has to be to be called one: the letters of a
// shorter one stand everywhere.
const minRest = 4

// Beheaded takes away what, at the beginning of a line, may be the rest of a secret: of
// a long log only the end is read, and that may begin in the middle of one.
func (s Secrets) Beheaded(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i := range lines {
		lines[i] = s.withoutRest(lines[i])
	}
	return strings.Join(lines, "")
}

// withoutRest takes the longest rest of a secret from the beginning of a text.
func (s Secrets) withoutRest(text string) string {
	longest := 0
	for _, secret := range s {
		for at := 1; len(secret)-at >= max(minRest, longest+1); at++ {
			if strings.HasPrefix(text, secret[at:]) {
				longest = len(secret) - at
			}
		}
	}
	if longest == 0 {
		return text
	}
	return Redacted + text[longest:]
}

// Line makes one line of a text, and replaces whatever a terminal would act upon.
func Line(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '.'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '.'
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// Cut shortens a text to at most most characters.
func Cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// WholeLines leaves out the first line of the last most bytes of a text, or of fewer:
// its beginning is gone, and with it what would have told that a secret stands in it.
// A text that is shorter is whole, and the only line stays.
func WholeLines(text string, most int) string {
	if len(text) < most {
		return text
	}
	if _, rest, ok := strings.Cut(text, "\n"); ok && strings.TrimSpace(rest) != "" {
		return rest
	}
	return text
}

// Header is what is secret in a header's value: all of it, what stands after a scheme
// such as Bearer, and of Basic the password.
func Header(value string) []string {
	values := []string{value}
	scheme, credentials, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok {
		return values
	}
	values = append(values, credentials)
	if plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials)); err == nil && strings.EqualFold(scheme, "Basic") {
		_, password, _ := strings.Cut(string(plain), ":")
		values = append(values, string(plain), password)
	}
	return values
}

// InURL escapes a text so that it can only ever be one part of a URL.
func InURL(v string) string { return strings.ReplaceAll(url.QueryEscape(v), "+", "%20") }
