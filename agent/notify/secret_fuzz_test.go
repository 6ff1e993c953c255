package notify

import (
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/redact"
)

// FuzzShown: whatever a receiver answers, and whatever its secret is, what is shown of
// the answer is one short printable line without that secret.
func FuzzShown(f *testing.F) {
	for _, seed := range [][2]string{
		{"slack://xoxb:123456789-abcdefgh-Zz9y@C0FFEE42?x=q%2Fuery", "token 123456789 of C0FFEE42"},
		{"s3cr3t-s3cr3t", "you said S3CR3T-s3cr3t\r\n"}, {"two  words", "two\u00a0words"}, {"caf\xe9-token", "caf\xe9-token"},
		{"s3cr3t", "\u202es3cr3t\u2028\x1b[2J"}, {"hidden", "[hidden]"}, {"s3%63r3t", "s3cr3t"}, {"s3cr3t", "http://a/s3cr3t b"},
		{"abcd", strings.Repeat("é abcd ", 200)},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, secret, said string) {
		out := shown(said, secret)
		if len(out) > maxSaid+len("…") {
			t.Fatalf("%d bytes: %q", len(out), out)
		}
		if redact.Line(out) != out {
			t.Fatalf("%q is not one printable line", out)
		}
		for _, form := range []string{secret, redact.Line(secret)} {
			if len(redact.Line(secret)) < 4 || harmless[strings.ToLower(form)] {
				continue
			}
			for _, piece := range strings.Split(out, hidden) {
				if strings.Contains(strings.TrimSuffix(piece, "…"), form) {
					t.Fatalf("%q shows %q", out, form)
				}
			}
		}
	})
}
