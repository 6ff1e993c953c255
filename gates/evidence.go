package gates

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tealdeploy/teal/agent/redact"
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

// secrets are texts that must not appear in evidence.
type secrets = redact.Secrets

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
		values = append(values, redact.Header(value)...)
	}
	return redact.Spelled(values...)
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

// excerpt is what may be shown of a body. Whole says that nothing of it is
// missing; else the last of it may be the first half of a secret.
func excerpt(s secrets, body []byte, whole bool) string {
	body = bytes.TrimSpace(body)
	if len(body) > maxRead {
		body, whole = body[:maxRead], false
	}
	if whole {
		return redact.Cut(s.Scrub(string(body)), maxExcerpt)
	}
	return redact.Cut(s.ScrubCut(string(body)), maxExcerpt)
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
			out[key] = tail(redact.Line(figures[key]), maxLog)
			continue
		}
		out[redact.Cut(redact.Line(key), maxFigure)] = redact.Cut(redact.Line(figures[key]), maxFigure)
	}
	return out
}
