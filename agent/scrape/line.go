package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// seriesName checks the form of a sample's line, without its line feed, and
// tells whose it is:
//
//	name 1
//	name{label="value",…} 1 1700000000000
//	{"quoted name",label="value",…} 1
//
// It makes no garbage, for it sees every line of an endpoint of which a few are
// wanted. Those are read again, by Prometheus' own parser.
func seriesName(line []byte) ([]byte, error) {
	rest := blanks(line)
	name, rest := word(rest, true)
	if rest = blanks(rest); len(rest) > 0 && rest[0] == '{' {
		var err error
		if name, rest, err = labels(name, rest[1:]); err != nil {
			return nil, err
		}
	}
	if len(name) == 0 {
		return nil, errors.New("there is no metric's name")
	}
	value, rest := field(rest)
	if _, err := strconv.ParseFloat(string(value), 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%q is no value", shorten(string(value)))
	}
	if stamp, more := field(rest); len(stamp) > 0 {
		if _, err := strconv.ParseInt(string(stamp), 10, 64); err != nil {
			return nil, fmt.Errorf("%q is no timestamp", shorten(string(stamp)))
		}
		rest = more
	}
	if rest = blanks(rest); len(rest) > 0 {
		return nil, fmt.Errorf("%q is too much", shorten(string(rest)))
	}
	return name, nil
}

var errLabels = errors.New("its labels are not name=\"value\" in braces")

// labels passes over the labels behind an opening brace. Without a name before
// it, one of them is the name.
func labels(name, rest []byte) (_, _ []byte, err error) {
	for {
		if rest = blanks(rest); len(rest) == 0 {
			return nil, nil, errLabels
		}
		if rest[0] == '}' {
			return name, rest[1:], nil
		}
		var label []byte
		quoted := rest[0] == '"'
		if quoted {
			if label, rest, err = quote(rest); err != nil {
				return nil, nil, err
			}
		} else if label, rest = word(rest, false); len(label) == 0 {
			return nil, nil, errLabels
		}
		if rest = blanks(rest); len(rest) > 0 && rest[0] == '=' {
			if _, rest, err = quote(blanks(rest[1:])); err != nil {
				return nil, nil, err
			}
		} else if quoted && len(name) == 0 {
			name = label
			if bytes.IndexByte(name, '\\') >= 0 {
				name = []byte(unescape.Replace(string(name)))
			}
		} else {
			return nil, nil, errLabels
		}
		if rest = blanks(rest); len(rest) > 0 && rest[0] == ',' {
			rest = rest[1:]
		} else if len(rest) == 0 || rest[0] != '}' {
			return nil, nil, errLabels
		}
	}
}

var unescape = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")

// quote takes a quoted text, and leaves its escapes as they are.
func quote(in []byte) (text, rest []byte, err error) {
	if len(in) == 0 || in[0] != '"' {
		return nil, nil, errLabels
	}
	for i := 1; i < len(in); i++ {
		switch in[i] {
		case '\\':
			i++
		case '"':
			return in[1:i], in[i+1:], nil
		}
	}
	return nil, nil, errors.New("a quote is not closed")
}

// word takes a name that needs no quotes. Metrics' may hold colons.
func word(in []byte, colons bool) (word, rest []byte) {
	i := 0
	for ; i < len(in); i++ {
		c := in[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || colons && c == ':' || i > 0 && c >= '0' && c <= '9') {
			break
		}
	}
	return in[:i], in[i:]
}

// field takes what stands up to the next blank.
func field(in []byte) (field, rest []byte) {
	in = blanks(in)
	if i := bytes.IndexAny(in, " \t"); i >= 0 {
		return in[:i], in[i:]
	}
	return in, nil
}

func blanks(in []byte) []byte { return bytes.TrimLeft(in, " \t") }
