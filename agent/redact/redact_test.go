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
