package gates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mismatchJSON compares values found by dotted paths ("checks.0.status") with
// what is expected, and says what differs first, or nothing.
func mismatchJSON(body []byte, expected map[string]string) string {
	root, err := parseJSON(body)
	if err != nil {
		return "answered a body that is not JSON: " + err.Error()
	}
	for _, path := range slices.Sorted(maps.Keys(expected)) {
		value, ok := follow(root, strings.Split(path, "."))
		if !ok {
			return fmt.Sprintf("answered JSON without %s", path)
		}
		if got, same := equal(value, expected[path]); !same {
			return fmt.Sprintf("answered JSON where %s is %s, expected %q", path, got, expected[path])
		}
	}
	return ""
}

// parseJSON reads the first value of a body.
func parseJSON(body []byte) (root any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // an ID of 64 bits must not be rounded into another
	err = decoder.Decode(&root)
	return root, err
}

// follow walks objects by key and arrays by index.
func follow(value any, path []string) (any, bool) {
	for _, part := range path {
		switch at := value.(type) {
		case map[string]any:
			next, ok := at[part]
			if !ok {
				return nil, false
			}
			value = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			value = at[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// equal compares as the JSON value's own type asks for, and shows the value.
func equal(value any, expected string) (string, bool) {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v), v == expected
	case json.Number:
		return v.String(), sameNumber(v.String(), expected)
	case bool:
		return strconv.FormatBool(v), strconv.FormatBool(v) == expected
	case nil:
		return "null", expected == "null"
	case []any:
		return "an array", false
	}
	return "an object", false
}

// sameNumber compares two decimal numbers exactly, however they are written:
// 1, 1.0 and 10e-1 are the same, and no two integers are rounded into one.
func sameNumber(a, b string) bool {
	x, okX := decimal(a)
	y, okY := decimal(b)
	return a == b || okX && okY && x == y
}

// number is sign, significant digits without zeros at either end, and the
// power of ten that the last of them counts.
type number struct {
	negative bool
	digits   string
	exponent int
}

// maxExponent keeps the sum of exponent and digits within an int.
const maxExponent = 1 << 30

var decimalForm = regexp.MustCompile(`^(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$`)

func decimal(s string) (number, bool) {
	part := decimalForm.FindStringSubmatch(s)
	if part == nil {
		return number{}, false
	}
	digits := strings.TrimLeft(part[2]+part[3], "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return number{}, true
	}
	exponent := 0
	if part[4] != "" {
		var err error
		if exponent, err = strconv.Atoi(part[4]); err != nil || max(exponent, -exponent) > maxExponent {
			return number{}, false
		}
	}
	return number{part[1] == "-", short, exponent - len(part[3]) + len(digits) - len(short)}, true
}
