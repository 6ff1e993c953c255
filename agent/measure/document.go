package measure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Document is a number, or several, in the JSON that somebody answers.
type Document struct {
	URL  string
	Path string // dotted: keys, indices, and * for all of an object or array
	Access
}

// Declare adds the arguments to a decoder.
func (q *Document) Declare(d *hclbody.Decoder) {
	d.String("url", &q.URL, hclbody.Required, hclbody.NotEmpty)
	d.String("path", &q.Path, hclbody.Required, hclbody.NotEmpty)
	q.Access.declare(d)
}

// Validate reports values that are of the right type and cannot work.
func (q *Document) Validate(d *hclbody.Decoder) {
	q.Access.validate(d, q.URL)
	NoStray(d, "url", q.URL)
	NoStray(d, "path", q.Path)
	if q.Path != "" && slices.Contains(strings.Split(q.Path, "."), "") {
		d.Errorf("path", "Invalid JSON path", "%q has an empty part; write keys and indices with dots between, and * for all of them, as in \"data.result.*.value.1\".", q.Path)
	}
}

// Fill implements Query.
func (q Document) Fill(f Filling) (Query, error) {
	var err error
	if q.URL, err = f.fill(q.URL, url.QueryEscape); err == nil {
		q.Path, err = f.Text(q.Path)
	}
	return q, err
}

// Target implements Query.
func (q Document) Target() string {
	at, _, _ := strings.Cut(q.URL, "?") // a query may hold a token
	return at
}

// maxValues bounds how many numbers of one answer are looked at.
const maxValues = 1000

// Values finds the numbers in a document.
func (q Document) Values(body []byte) ([]Value, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var root any
	if err := dec.Decode(&root); err != nil {
		return nil, fmt.Errorf("the answer is not JSON: %w", err)
	}
	if rest := bytes.TrimSpace(body[dec.InputOffset():]); len(rest) > 0 { // dec.More takes a stray bracket for an end
		return nil, errors.New("the answer is not one JSON document: something follows it")
	}
	var out []Value
	parts := strings.Split(q.Path, ".")
	several := slices.Contains(parts, "*")
	err := walk(root, parts, nil, func(at []string, leaf any) error {
		n, err := numberOf(leaf)
		name := strings.Join(at, ".")
		if err != nil {
			return fmt.Errorf("%s is %w", name, err)
		}
		if len(out) == maxValues {
			return fmt.Errorf("more than %d numbers are at %s", maxValues, q.Path)
		}
		if !several {
			name = q.Path
		}
		out = append(out, Value{name, n})
		return nil
	})
	return out, err
}

// walk goes along a path, and all ways at once where it says *.
func walk(at any, path, been []string, see func(at []string, leaf any) error) error {
	if len(path) == 0 {
		return see(been, at)
	}
	step := func(name string, to any) error { return walk(to, path[1:], append(slices.Clone(been), name), see) }
	part := path[0]
	switch v := at.(type) {
	case map[string]any:
		if next, ok := v[part]; ok {
			return step(part, next)
		}
		if part != "*" {
			return nil // what is not there is no number
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := step(name, v[name]); err != nil {
				return err
			}
		}
	case []any:
		if part == "*" {
			for i, next := range v {
				if err := step(strconv.Itoa(i), next); err != nil {
					return err
				}
			}
			return nil
		}
		if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(v) {
			return step(part, v[i])
		}
	}
	return nil
}

// numberOf takes a number, also one that is written as a text, as Prometheus does.
func numberOf(v any) (float64, error) {
	text := ""
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	case bool:
		return 0, fmt.Errorf("%t, which is no number", v)
	case nil:
		return 0, errors.New("null, which is no number")
	case []any:
		return 0, errors.New("an array; name one of its elements, or * for all")
	default:
		return 0, errors.New("an object; name one of its keys, or * for all")
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		if r := []rune(text); len(r) > 40 {
			text = string(r[:39]) + "…"
		}
		return 0, fmt.Errorf("%q, which is no number", text)
	}
	return n, nil
}
