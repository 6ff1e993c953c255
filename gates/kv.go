package gates

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/redact"
)

// KV is the gate of kind "kv": another system, or a person, says yes or no in a
// key of Consul, with a reason.
//
// A word holds for one exact candidate only, the one whose hash is in the key's
// name, or beside the word in its value. A word about another is none.
type KV struct {
	Key string // with placeholders, {hash} being one
}

// placeholderHash stands for the candidate's proof, hash+policy.
const placeholderHash = "{hash}"

func decodeKV(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	var g KV
	d := hclbody.New(`gate "kv"`, eval)
	d.String("key", &g.Key, hclbody.Required, hclbody.NotEmpty)
	d.Elsewhere(shared...)
	d.Decode(body)
	if strings.HasPrefix(g.Key, "/") || strings.HasSuffix(g.Key, "/") {
		d.Errorf("key", "Not a key", "%q begins or ends with a slash, which no key of Consul's does; write \"verdicts/{service}/{hash}\".", g.Key)
	}
	measure.NoStray(d, "key", g.Key, placeholderHash)
	return g, d.Diagnostics()
}

// Check implements Gate.
func (g KV) Check(ctx context.Context, target Target) (Finding, error) {
	key, err := expander{target: target}.text(strings.ReplaceAll(g.Key, placeholderHash, target.Hash))
	if err != nil {
		return Finding{}, err
	}
	value, err := target.Read(ctx, key)
	if err != nil {
		return Finding{}, fmt.Errorf("key %s: %w", key, err)
	}
	f := Finding{Figures: map[string]string{"key": key}}
	if value == nil {
		f.Reason = fmt.Sprintf("there is no key %s yet; it is about %s", key, target.Hash)
		return f, nil
	}
	said := wordOf(string(value))
	named := strings.Contains(g.Key, placeholderHash)
	switch {
	case said.Hash == "" && !named:
		f.Reason = fmt.Sprintf(`key %s does not say which candidate it is about: write {"verdict": "yes", "reason": "…", "hash": %q}`, key, target.Hash)
	case said.Hash != "" && said.Hash != target.Hash:
		f.Reason = fmt.Sprintf("key %s is about %s, and the candidate is %s", key, redact.Cut(redact.Line(said.Hash), maxExcerpt), target.Hash)
	case said.verdict == Hold:
		f.Reason = fmt.Sprintf("key %s says neither yes nor no: %q; expected one of %s, or one of %s",
			key, redact.Cut(redact.Line(string(value)), maxExcerpt), strings.Join(yes, ", "), strings.Join(no, ", "))
	default:
		f.Verdict, f.Reason = said.verdict, fmt.Sprintf("key %s says %s, without a reason", key, said.verdict)
		if why := secrets(nil).Scrub(said.Reason); why != "" {
			f.Reason = fmt.Sprintf("key %s says %s: %s", key, said.verdict, redact.Cut(why, maxFigure))
		}
	}
	return f, nil
}

// The words that a key may begin with; those of a trigger "kv" but for rollback.
var (
	yes = []string{"yes", "ok", "good", "fine", "pass"}
	no  = []string{"no", "bad", "fail"}
)

// saying is what another system wrote.
type saying struct {
	Verdict, Reason, Hash string
	verdict               Verdict
}

// wordOf reads a word and a reason, as in "no: the audit found two holes", or
// the same as JSON, in which there may be a hash.
func wordOf(text string) (s saying) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &s) != nil {
		s = saying{Verdict: text}
		if at := strings.IndexAny(text, ": \t\r\n"); at >= 0 {
			s.Verdict, s.Reason = text[:at], strings.TrimLeft(text[at:], ": \t\r\n")
		}
	}
	is := func(w string) bool { return strings.EqualFold(strings.TrimSpace(s.Verdict), w) }
	switch {
	case slices.ContainsFunc(yes, is):
		s.verdict = Pass
	case slices.ContainsFunc(no, is):
		s.verdict = Fail
	}
	return s
}
