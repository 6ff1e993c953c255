package notify

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/plainfile"
	"github.com/tealdeploy/teal/agent/redact"
)

// secret is a value that must not be seen: given as it is, for which the config
// has env("…"), or as a file, which is read anew each time it is needed.
type secret struct {
	name  string
	value string
	file  string
	dir   string // of the config, where a relative path starts
}

func (s *secret) declare(d *hclbody.Decoder, name, dir string) {
	s.name, s.dir = name, dir
	d.String(name, &s.value)
	d.String(name+"_file", &s.file, hclbody.NotEmpty)
}

// check wants one of the two, or with optional none.
func (s *secret) check(d *hclbody.Decoder, optional bool) {
	switch {
	case s.value != "" && s.file != "":
		d.Errorf(s.name+"_file", "Two of one kind", "Both %s and %s_file are given; give one of them.", s.name, s.name)
	case s.value == "" && s.file == "" && !optional:
		d.Errorf(s.name, "Missing argument", "Either %s or %s_file is required. %s with an empty value may be env(\"…\") of a variable that is not set.", s.name, s.name, s.name)
	}
}

func (s *secret) given() bool { return s.value != "" || s.file != "" }

const maxSecret = 16 << 10

// read is the value as it is now. The error names the file, never what is in it.
func (s *secret) read() (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	path := s.file
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	raw, err := plainfile.Read(path, maxSecret)
	if err != nil {
		return "", fmt.Errorf("%s_file: %w", s.name, err)
	}
	value := strings.TrimSpace(string(raw))
	if value == "" {
		return "", fmt.Errorf("%s_file: there is nothing in %s", s.name, path)
	}
	return value, nil
}

const (
	hidden  = "[hidden]"
	maxSaid = 300
)

// anyURL finds URLs: none is ever shown, for tokens stand in most of them.
var anyURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://\S*`)

// shown is a text fit for a log: without secrets, and without any part of one
// that is long enough to be told from a word, in whatever form it was put
// together anew. Of a URL everything is secret, but for a host that stands alone.
func shown(text string, secrets ...string) string {
	text = redact.Line(anyURL.ReplaceAllString(text, hidden))
	var parts []string
	for _, s := range secrets {
		parts = append(parts, redact.Line(s)) // as it would stand on that line
		for _, form := range []string{s, unescaped(s)} {
			parts = append(parts, strings.FieldsFunc(form, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })...)
		}
	}
	// The longest first, so that no part of one is left of another.
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	for _, p := range slices.Compact(parts) {
		if len(p) >= 4 && !harmless[strings.ToLower(p)] {
			text = regexp.MustCompile("(?i)"+regexp.QuoteMeta(p)).ReplaceAllString(text, hidden)
		}
	}
	return cut(text, maxSaid)
}

// harmless are parts of URLs that everybody knows and that say what went wrong.
var harmless = map[string]bool{
	"http": true, "https": true, "generic": true, "slack": true, "discord": true, "teams": true, "smtp": true, "telegram": true,
	"services": true, "hooks": true, "localhost": true, "webhook": true, "alerts": true,
}

func unescaped(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
