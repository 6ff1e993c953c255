package gates_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/gates"
)

// asked is what a kv gate makes of a key's value.
func asked(t *testing.T, key string, value []byte, readErr error) (gates.Finding, error) {
	t.Helper()
	n, diags := decode(t, "gate \"kv\" \"audit\" {\n  key = \""+key+"\"\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	target := green()
	target.Hash = "abc+def"
	target.Read = func(_ context.Context, at string) ([]byte, error) {
		if want := strings.NewReplacer("{service}", "api", "{version}", "2.0.0", "{hash}", "abc+def").Replace(key); at != want {
			t.Errorf("read %s, want %s", at, want)
		}
		return value, readErr
	}
	return n.Gate.Check(t.Context(), target)
}

func TestKVByItsWord(t *testing.T) {
	const bound, loose = "verdicts/{service}/{hash}", "verdicts/{service}/{version}"
	for _, c := range []struct {
		key, value string
		verdict    gates.Verdict
		reason     string
	}{
		{bound, "yes: audited", gates.Pass, "key verdicts/api/abc+def says pass: audited"},
		{bound, " OK ", gates.Pass, "without a reason"},
		{bound, "no: two holes\n\x1b[31m", gates.Fail, "says fail: two holes .[31m"},
		{bound, `{"verdict": "no", "reason": "two holes"}`, gates.Fail, "says fail: two holes"},
		{bound, "maybe", gates.Hold, `neither yes nor no: "maybe"`},
		{bound, "", gates.Hold, "neither yes nor no"},
		{bound, `{"verdict": `, gates.Hold, "neither yes nor no"},
		{bound, "yesterday: fine", gates.Hold, "neither yes nor no"},
		// A word about an unknown or another candidate is none, yes or no.
		{loose, "yes: audited", gates.Hold, "does not say which candidate it is about"},
		{loose, "no", gates.Hold, "does not say which candidate it is about"},
		{loose, `{"verdict": "yes", "hash": "abc+def"}`, gates.Pass, "says pass"},
		{loose, `{"verdict": "yes", "hash": "abc+old"}`, gates.Hold, "is about abc+old, and the candidate is abc+def"},
		{bound, `{"verdict": "no", "hash": "abc+old"}`, gates.Hold, "is about abc+old"},
	} {
		f, err := asked(t, c.key, []byte(c.value), nil)
		if err != nil || f.Verdict != c.verdict || !strings.Contains(f.Reason, c.reason) {
			t.Errorf("%s %q: %s %q, %v", c.key, c.value, f.Verdict, f.Reason, err)
		}
	}
	if f, err := asked(t, bound, nil, nil); err != nil || f.Verdict != gates.Hold || !strings.Contains(f.Reason, "there is no key verdicts/api/abc+def yet") {
		t.Errorf("no key: %+v, %v", f, err)
	}
	if f, err := asked(t, bound, nil, errors.New("consul is away")); err == nil || f.Verdict != gates.Hold {
		t.Errorf("cannot be read: %+v, %v", f, err)
	}
	long := "no: " + strings.Repeat("x", 100_000)
	if f, err := asked(t, bound, []byte(long), nil); err != nil || f.Verdict != gates.Fail || len(f.Reason) > 600 {
		t.Errorf("a long word: %s, %d bytes, %v", f.Verdict, len(f.Reason), err)
	}
}

func TestMistakesInAKV(t *testing.T) {
	for body, want := range map[string]string{
		``:                        `"key" is required`,
		`key = "/verdicts/x"`:     "begins or ends with a slash",
		`key = "verdicts/{hsah}"`: "{hsah} is no placeholder",
	} {
		_, diags := decode(t, "gate \"kv\" \"n\" {\n"+body+"\n}")
		if !said(diags, want) {
			t.Errorf("%s\nsaid %s\nwant %s", body, diags.Error(), want)
		}
	}
}
