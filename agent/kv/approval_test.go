package kv

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseConsent(t *testing.T) {
	for value, want := range map[string]Consent{
		"h+p":           {Proof: "h+p"},
		" h+p\n":        {Proof: "h+p"},
		`{"proof":"h"}`: {Proof: "h"},
		` {"proof":"h+p","why":"looks good","at":"2026-03-01T06:00:00Z","by":"alice@laptop"} `: {Proof: "h+p", Why: "looks good", At: "2026-03-01T06:00:00Z", By: "alice@laptop"},
	} {
		if got, err := ParseConsent([]byte(value)); err != nil || got != want {
			t.Errorf("%q: %+v %v, want %+v", value, got, err, want)
		}
	}
	for value, says := range map[string]string{
		"":                           "it does not say to what",
		" \n":                        "it does not say to what",
		"{}":                         "it does not say to what",
		`{"proof":""}`:               "it does not say to what",
		`{"proof":"h"`:               "expected a proof, or JSON with proof, why, at, by",
		`{"proof":"h"}{"proof":"i"}`: "something follows its end",
		`{"proof":"h","force":true}`: `unknown field "force"`,
		`{"proof":["h"]}`:            "expected a proof, or JSON",
	} {
		if got, err := ParseConsent([]byte(value)); err == nil || !strings.Contains(err.Error(), says) || got != (Consent{}) {
			t.Errorf("%q: %+v %v, want %q", value, got, err, says)
		}
	}
}

// Approvers' names are folders of keys and stand in ACL rules.
func TestApproverName(t *testing.T) {
	for _, name := range []string{"alice", "Alice", "a", "7", "a.b", "a_b", "a-b", "alice@ops.example", strings.Repeat("a", 63)} {
		if err := ApproverName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a/b", "a b", ".", "..", "-as", "<name>", "alice\n", "ålice", "a\"b", strings.Repeat("a", 64)} {
		if ApproverName(name) == nil {
			t.Errorf("%q may be an approver's name", name)
		}
	}
}

// FuzzParseConsent: whatever stands in an approver's key is either refused or a
// consent to something, and the same when it is written down again.
func FuzzParseConsent(f *testing.F) {
	for _, seed := range []string{"", "h+p", " h\n", "{}", `{"proof":"h+p","why":"y","at":"a","by":"b"}`, `{"proof":`, `{"proof":"a"}{}`,
		`{"PROOF":"a"}`, "{\"proof\":\"\xff\"}", "\x00", `{"proof":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		before := string(value)
		c, err := ParseConsent(value)
		if string(value) != before {
			t.Fatal("the value was changed in place")
		}
		if err != nil {
			if c != (Consent{}) {
				t.Fatalf("refused, and still %+v", c)
			}
			return
		}
		if c.Proof == "" {
			t.Fatalf("%q consents to whatever waits", value)
		}
		text := strings.TrimSpace(before)
		if !strings.HasPrefix(text, "{") {
			if c != (Consent{Proof: text}) {
				t.Fatalf("bare text %q: %+v", text, c)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON and was taken for %+v", text, c)
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseConsent(written); err != nil || again != c {
			t.Fatalf("%+v, written down and read again %+v %v", c, again, err)
		}
	})
}
