package gates

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"testing"
)

func TestJSONMatching(t *testing.T) {
	const body = `{
		"status": "ok", "ready": true, "stopping": false, "error": null, "empty": "",
		"version": {"number": 2, "exact": 9007199254740993, "below": -9007199254740993, "ratio": 0.50, "large": 1e3},
		"checks": [{"name": "db", "status": "up"}, {"name": "cache", "status": "down"}, [10, 20]],
		"a.b": "dotted", "0": "digit", "ü": "ö"
	}`
	for _, c := range []struct {
		path, expected string
		wrong          string // empty: matches
	}{
		{"status", "ok", ""},
		{"status", "OK", `answered JSON where status is "ok", expected "OK"`},
		{"ready", "true", ""},
		{"ready", "1", `answered JSON where ready is true, expected "1"`},
		{"stopping", "false", ""},
		{"error", "null", ""},
		{"error", "", `answered JSON where error is null, expected ""`},
		{"empty", "", ""},
		{"empty", "null", `answered JSON where empty is "", expected "null"`},
		{"version.number", "2", ""},
		{"version.number", "2.0", ""},
		{"version.number", "0x2", `answered JSON where version.number is 2, expected "0x2"`},
		{"version.number", "two", `answered JSON where version.number is 2, expected "two"`},
		{"version.ratio", "0.5", ""},
		{"version.ratio", "5e-1", ""},
		{"version.ratio", ".5", `answered JSON where version.ratio is 0.50, expected ".5"`},
		{"version.large", "1000", ""},
		// A float64 cannot tell these apart.
		{"version.exact", "9007199254740993", ""},
		{"version.exact", "9007199254740992", `answered JSON where version.exact is 9007199254740993, expected "9007199254740992"`},
		{"version.exact", "9007199254740992.0", `answered JSON where version.exact is 9007199254740993, expected "9007199254740992.0"`},
		{"version.below", "-9007199254740992", `answered JSON where version.below is -9007199254740993, expected "-9007199254740992"`},
		{"version.below", "9007199254740993", `answered JSON where version.below is -9007199254740993, expected "9007199254740993"`},
		{"checks.1.status", "down", ""},
		{"checks.2.0", "10", ""},
		{"checks.3.status", "up", "answered JSON without checks.3.status"},
		{"checks.-1.status", "up", "answered JSON without checks.-1.status"},
		{"checks.one", "up", "answered JSON without checks.one"},
		{"checks", "up", `answered JSON where checks is an array, expected "up"`},
		{"version", "2", `answered JSON where version is an object, expected "2"`},
		{"status.ok", "true", "answered JSON without status.ok"},
		{"missing", "", "answered JSON without missing"},
		{"missing.deeper", "x", "answered JSON without missing.deeper"},
		{"0", "digit", ""},
		{"ü", "ö", ""},
	} {
		if got := mismatchJSON([]byte(body), map[string]string{c.path: c.expected}); got != c.wrong {
			t.Errorf("%s = %q: got %q, want %q", c.path, c.expected, got, c.wrong)
		}
	}

	all := map[string]string{"status": "ok", "ready": "true", "checks.0.status": "up"}
	if got := mismatchJSON([]byte(body), all); got != "" {
		t.Errorf("several that match: %s", got)
	}
	all["checks.1.status"], all["zeta"] = "up", "x"
	if got := mismatchJSON([]byte(body), all); got != `answered JSON where checks.1.status is "down", expected "up"` {
		t.Errorf("several of which two differ: %s", got)
	}
}

func TestWhatIsNotJSONDoesNotMatch(t *testing.T) {
	for _, body := range []string{"", "<html>", `{"status":"ok"`, `{"status":"ok",}`, "\xff\xfe", strings.Repeat("[", 100_000)} {
		if got := mismatchJSON([]byte(body), map[string]string{"status": "ok"}); !strings.HasPrefix(got, "answered a body that is not JSON: ") {
			t.Errorf("%.20q: %q", body, got)
		}
	}
	if got := mismatchJSON([]byte(`"ok"`), map[string]string{"status": "ok"}); got != "answered JSON without status" {
		t.Errorf("a lone string: %q", got)
	}
}

// Whatever an instance answers: no panic, and it matches only what it holds.
func FuzzJSONMatching(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2,{"c":"x"}]}}`), "a.b.2.c", "x")
	f.Add([]byte(`{"n":-0.00e+5}`), "n", "0")
	f.Add([]byte(`[1e999999999]`), "0", "1e999999999")
	f.Add([]byte(`[12345678901234567890123]`), "0", "12345678901234567890123")
	f.Add([]byte(`{"":null}`), "", "null")
	f.Fuzz(func(t *testing.T, body []byte, path, expected string) {
		if mismatchJSON(body, map[string]string{path: expected}) != "" {
			return
		}
		// Another text of the same kind must not match at the same place.
		if mismatchJSON(body, map[string]string{path: expected + "1~"}) == "" {
			t.Fatalf("%q: %s is %q and %q at once", body, path, expected, expected+"1~")
		}
		if mismatchJSON(body, map[string]string{path + ".x": expected}) == "" {
			t.Fatalf("%q: the scalar %s has a member", body, path)
		}
	})
}

// Two decimals are the same number exactly when their difference is zero.
func FuzzNumbersAreComparedExactly(f *testing.F) {
	f.Add("1", "1.0")
	f.Add("-0", "0")
	f.Add("1e2", "100")
	f.Add("9007199254740993", "9007199254740992")
	f.Add("120", "12")
	f.Add("0E0000000000000000", "0")
	f.Add("1e+0000000000000000002", "100")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) || len(a)+len(b) > 60 {
			return
		}
		x, okX := rational(a)
		y, okY := rational(b)
		if !okX || !okY {
			return
		}
		if got, want := sameNumber(a, b), x.Cmp(y) == 0; got != want {
			t.Fatalf("%s and %s: same %t, want %t", a, b, got, want)
		}
	})
}

// rational is the number by other means; only for exponents that can be
// written out.
func rational(s string) (*big.Rat, bool) {
	if _, exponent, ok := strings.Cut(strings.ToLower(s), "e"); ok {
		if n, err := strconv.Atoi(exponent); err != nil || n > 200 || n < -200 {
			return nil, false
		}
	}
	if s == "" || !strings.ContainsAny(s[:1], "-0123456789") {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}
