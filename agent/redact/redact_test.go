package redact

import (
	"testing"
)

// A text that was cut off may end in the middle of a secret, right behind a whole one
// too, and with line breaks where the secret has blanks.
func TestWhatIsCutOffShowsNoHalfOfASecret(t *testing.T) {
	s := Spelled("s3cr3t-s3cr3t", "two words and more")
	for text, want := range map[string]string{
		"token s3cr3t-s3c":                        "token",
		"token s3cr3t-s3cr3t s3c":                 "token [redacted]",
		"token s3cr3t-s3cr3ts3cr3t-s3cr3ts3cr3t-": "token [redacted][redacted]",
		"it is two\n\twords  an":                  "it is",
		"nothing of it":                           "nothing of i", // of what may be "two words and more"
		"":                                        "",
	} {
		if got := s.ScrubCut(text); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
	if got := s.Scrub("nothing of it"); got != "nothing of it" {
		t.Errorf("a whole text: %q", got)
	}
}

// A secret that is no text may stand across a character of what an instance answers:
// what is left of that is no text either, and no terminal is to see it.
func TestHalfACharacterIsNotShown(t *testing.T) {
	s := Spelled("\x80 0 0")
	if got := s.Scrub("\xd4\x80\n\t0\n\t0"); got != "[redacted]" {
		t.Errorf("all of it: %q", got)
	}
	if got := Spelled("\x80secret").ScrubCut("all \u0500 "); got != "all" {
		t.Errorf("cut off: %q", got)
	}
}
