package gates

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Evidence goes into a KV record and onto a screen: it is short, printable and
// free of secrets.
const (
	maxExcerpt = 200      // characters of a body
	maxRead    = 16 << 10 // bytes of a body that an excerpt is taken from
	maxReason  = 600      // characters of a reason
	maxFigures = 24
	maxFigure  = 300  // characters of a figure
	maxLog     = 1500 // characters of the figure "log": the end of what a test had to say
)

const redacted = "[redacted]"

// sensitive finds headers that people echo in error pages, whatever their
// values are.
var sensitive = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-(?:[a-z0-9]+-)*token|x-api-key)(\\?["']?\s*[:=]\s*\[?\s*)(\\?"[^"\r\n]*|\\?'[^'\r\n]*|[^\r\n]*)`)

// secrets are texts that must not appear in evidence.
type secrets []string

// open are the headers whose values say nothing secret, and something useful.
var open = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Cache-Control": true,
	"Content-Type": true, "Host": true, "User-Agent": true, "X-Forwarded-Proto": true,
}

// secretsOf takes the request's body, the values within it, those in its query and
// those of its headers.
func secretsOf(headers map[string]string, path, body string) secrets {
	values := append(within(body), body)
	if _, query, ok := strings.Cut(path, "?"); ok {
		values = append(values, query)
		form, _ := url.ParseQuery(query) // what can be read of it
		for _, list := range form {
			values = append(values, list...)
		}
	}
	for name, value := range headers {
		if open[http.CanonicalHeaderKey(name)] {
			continue
		}
		values = append(values, value)
		scheme, credentials, ok := strings.Cut(strings.TrimSpace(value), " ") // "Bearer …"
		if !ok {
			continue
		}
		values = append(values, credentials)
		if plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials)); err == nil && strings.EqualFold(scheme, "Basic") {
			_, password, _ := strings.Cut(string(plain), ":")
			values = append(values, string(plain), password)
		}
	}
	return spelled(values...)
}

// spelled are values in the forms in which an answer may echo them.
func spelled(values ...string) secrets {
	found := map[string]bool{}
	for _, s := range values {
		s = strings.TrimSpace(s)
		if line(s) == "" {
			continue
		}
		found[s] = true
		found[line(s)] = true
		found[url.QueryEscape(s)] = true
		found[url.PathEscape(s)] = true
		found[inURL(s)] = true
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

// and adds more secrets to those that are known.
func (s secrets) and(more secrets) secrets {
	all := slices.SortedFunc(slices.Values(slices.Concat(s, more)), longest)
	return slices.Compact(all)
}

// minWithin is how long a value in a body has to be to be called a secret: the
// letters of a shorter one stand everywhere.
const minWithin = 4

// within are the values in a body of JSON or of a form, such as a password, of
// which an answer may echo one without the others.
func within(body string) (values []string) {
	add := func(s string) {
		if utf8.RuneCountInString(s) >= minWithin {
			values = append(values, s)
		}
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			add(v)
		case json.Number:
			add(v.String())
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	if root, err := parseJSON([]byte(body)); err == nil {
		walk(root)
		return values
	}
	form, _ := url.ParseQuery(body) // what can be read of it
	for _, list := range form {
		for _, value := range list {
			add(value)
		}
	}
	return values
}

// scrub removes the secrets, and makes the text one printable line.
func (s secrets) scrub(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "\x00")
	}
	text = sensitive.ReplaceAllString(text, "${1}${2}\x00")
	text = line(strings.ReplaceAll(text, "\x00", redacted))
	// Only now, on one line, may a secret with blanks in it show.
	pieces := strings.Split(text, redacted)
	for i := range pieces {
		for _, secret := range s {
			pieces[i] = strings.ReplaceAll(pieces[i], secret, "\x00")
		}
		pieces[i] = strings.ReplaceAll(pieces[i], "\x00", redacted)
	}
	return strings.Join(pieces, redacted)
}

// excerpt is what may be shown of a body. Whole says that nothing of it is
// missing; else the last of it may be the first half of a secret.
func (s secrets) excerpt(body []byte, whole bool) string {
	body = bytes.TrimSpace(body)
	if len(body) > maxRead {
		body, whole = body[:maxRead], false
	}
	if !whole && len(s) > 0 {
		body = body[:max(0, len(body)-len(s[0]))]
	}
	return cut(s.scrub(string(body)), maxExcerpt)
}

// beheaded takes away what, at the beginning of a line, may be the rest of a secret: of
// a long log only the end is read, and that may begin in the middle of one.
func (s secrets) beheaded(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i := range lines {
		lines[i] = s.withoutRest(lines[i])
	}
	return strings.Join(lines, "")
}

// withoutRest takes the longest rest of a secret from the beginning of a text.
func (s secrets) withoutRest(text string) string {
	longest := 0
	for _, secret := range s {
		for at := 1; len(secret)-at >= max(minWithin, longest+1); at++ {
			if strings.HasPrefix(text, secret[at:]) {
				longest = len(secret) - at
			}
		}
	}
	if longest == 0 {
		return text
	}
	return redacted + text[longest:]
}

// line replaces whatever a terminal would act upon.
func line(text string) string {
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

// cut shortens a text to at most most characters.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// tail is the end of a text, of at most most characters.
func tail(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return "…" + string(runes[len(runes)-most+1:])
}

// figureLog is the figure with the end of a test's log, which is worth more
// room than others.
const figureLog = "log"

// bounded keeps a gate's figures from outgrowing the record.
func bounded(figures map[string]string) map[string]string {
	if len(figures) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(figures))[:min(len(figures), maxFigures)] {
		if key == figureLog {
			out[key] = tail(line(figures[key]), maxLog)
			continue
		}
		out[cut(line(key), maxFigure)] = cut(line(figures[key]), maxFigure)
	}
	return out
}
