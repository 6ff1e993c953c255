package kv

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for value, want := range map[string]Command{
		"green":        {Arg: "green", By: "consul kv"},
		" green\n":     {Arg: "green", By: "consul kv"},
		"":             {By: "consul kv"},
		"{}":           {By: "consul kv"},
		`"green"`:      {Arg: `"green"`, By: "consul kv"},
		"[1]":          {Arg: "[1]", By: "consul kv"},
		"\xff":         {Arg: "\xff", By: "consul kv"},
		"blue green":   {Arg: "blue green", By: "consul kv"},
		` {"arg":"x"}`: {Arg: "x", By: "consul kv"},
		`{"arg":"blue","vars":{"version":"2"},"by":"alice@laptop","force":true,"why":"late"}`: {
			Arg: "blue", Vars: map[string]string{"version": "2"}, By: "alice@laptop", Force: true, Why: "late"},
	} {
		got, err := ParseCommand([]byte(value))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v %v, want %+v", value, got, err, want)
		}
	}
	for name, value := range map[string]string{
		"cut short":        `{"arg":"gre`,
		"not known":        `{"arg":"green","colour":"green"}`,
		"of another type":  `{"force":"yes"}`,
		"more after it":    `{"arg":"green"}{"arg":"blue"}`,
		"text after it":    `{"arg":"green"} blue`,
		"a brace too many": `{"arg":"green"}}`,
		"said twice over":  `{{"arg":"green"}}`,
		"another language": `{arg = "green"}`,
	} {
		if got, err := ParseCommand([]byte(value)); err == nil {
			t.Errorf("%s: %q is taken for %+v", name, value, got)
		} else if !strings.Contains(err.Error(), "expected bare text or JSON with arg, vars, by, force, why") || !reflect.DeepEqual(got, Command{}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// FuzzParseCommand: whatever anybody puts there is either refused or a command
// that says who gave it, and what is understood is understood the same when it
// is written down again.
func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{"", "green", " green\n", "{}", `{"arg":"blue","vars":{"a":"b"},"by":"x","force":true,"why":"y"}`,
		`{"arg":`, `{"arg":"a"}{}`, `{"ARG":"a"}`, "{\"arg\":\"\xff\"}", "\x00", `{"vars":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		before := string(value)
		c, err := ParseCommand(value)
		if string(value) != before {
			t.Fatal("the value was changed in place")
		}
		text := strings.TrimSpace(before)
		if !strings.HasPrefix(text, "{") {
			if err != nil || c.Arg != text || c.By == "" || c.Force || c.Vars != nil || c.Why != "" {
				t.Fatalf("bare text %q: %+v %v", text, c, err)
			}
			return
		}
		if err != nil {
			if !reflect.DeepEqual(c, Command{}) {
				t.Fatalf("refused, and still %+v", c)
			}
			return
		}
		if c.By == "" {
			t.Fatal("nobody gave it")
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON and was taken for %+v", text, c)
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCommand(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if len(c.Vars) == 0 { // none is none
			c.Vars = nil
		}
		if !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v, written down and read again %+v", c, again)
		}
	})
}
