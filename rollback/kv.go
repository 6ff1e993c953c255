package rollback

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/redact"
)

// KV is the trigger of kind "kv": another system says in a key of Consul that the
// version is bad, and why.
//
// The key names the version, so that a word about one version is never taken for
// one about the next.
type KV struct {
	Key    string // with placeholders
	Absent string // what it means that there is no such key: unknown or fine
}

func decodeKV(body hcl.Body, eval *hcl.EvalContext) (Trigger, hcl.Diagnostics) {
	k := KV{Absent: Unknown.String()}
	d := decoder("kv", eval)
	d.String("key", &k.Key, hclbody.Required, hclbody.NotEmpty)
	d.String("absent", &k.Absent, hclbody.OneOf(Unknown.String(), Fine.String()))
	d.Decode(body)
	switch {
	case k.Key == "":
	case strings.HasPrefix(k.Key, "/") || strings.HasSuffix(k.Key, "/"):
		d.Errorf("key", "Not a key", "%q begins or ends with a slash, which no key of Consul's does; write \"verdicts/{service}/{version}\".", k.Key)
	case measure.Stray(k.Key) != "":
		measure.NoStray(d, "key", k.Key)
	case !strings.Contains(k.Key, "{version}"):
		d.Errorf("key", "Key of every version", "key is %q, and a word about this version would judge the next one too; name the version in it, as in \"verdicts/{service}/{version}\".", k.Key)
	}
	return k, d.Diagnostics()
}

// Sources implements Trigger.
func (k KV) Sources() []ScrapeSource { return nil }

// Families implements Trigger.
func (k KV) Families() []string { return nil }

// Question implements Asking.
func (k KV) Question() Question { return KVKey{k.Key} }

// Begin implements Trigger.
func (k KV) Begin() Judge { return &kvJudge{KV: k} }

type kvJudge struct {
	KV
	answer *Answer // the latest
}

// The words that a key may begin with.
var (
	yes = []string{"yes", "ok", "good", "fine", "pass"}
	no  = []string{"no", "bad", "fail", "rollback"}
)

// Observe implements Judge.
func (j *kvJudge) Observe(o Observation) Judgement {
	if o.Answer != nil {
		j.answer = o.Answer
	}
	out := Judgement{Figures: map[string]float64{}}
	a := j.answer
	switch {
	case a == nil:
		out.Reason = "Consul was not asked for the key yet"
	case a.Err != nil:
		out.Reason = fmt.Sprintf("the key could not be read: %s", a.Err)
	case a.Text == nil && j.Absent == Fine.String():
		out.Verdict, out.Reason = Fine, fmt.Sprintf("nobody objects: there is no key %s", a.Key)
	case a.Text == nil:
		out.Reason = fmt.Sprintf("there is no key %s yet", a.Key)
	default:
		verdict, why := word(*a.Text)
		out.Verdict = verdict
		switch {
		case verdict == Unknown:
			out.Reason = fmt.Sprintf("key %s says neither yes nor no: %s", a.Key, why)
		case why != "":
			out.Reason = fmt.Sprintf("key %s says %s: %s", a.Key, verdict, why)
		default:
			out.Reason = fmt.Sprintf("key %s says %s, without a reason", a.Key, verdict)
		}
	}
	return out
}

// word reads what another system wrote: a word and a reason, as in "no: orders
// have halved", or the same as JSON, {"verdict": "no", "reason": "…"}. Of what is
// neither it gives what was read.
func word(text string) (Verdict, string) {
	text = strings.TrimSpace(text)
	var said struct{ Verdict, Reason string }
	if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &said) == nil {
		return verdictOf(said.Verdict, said.Reason, text)
	}
	first, rest := text, ""
	if at := strings.IndexAny(text, ": \t\r\n"); at >= 0 {
		first, rest = text[:at], strings.TrimLeft(text[at:], ": \t\r\n")
	}
	return verdictOf(first, rest, text)
}

func verdictOf(verdict, reason, text string) (Verdict, string) {
	for i, words := range [][]string{yes, no} {
		for _, w := range words {
			if strings.EqualFold(strings.TrimSpace(verdict), w) {
				return []Verdict{Fine, Bad}[i], printable(reason)
			}
		}
	}
	return Unknown, fmt.Sprintf("%s; expected one of %s, or one of %s", redact.Cut(fmt.Sprintf("%q", printable(text)), maxForeign), strings.Join(yes, ", "), strings.Join(no, ", "))
}

// maxForeign bounds what is taken over of somebody else's text, in characters.
const maxForeign = 300

// printable makes one short line of a text from outside.
func printable(text string) string {
	return redact.Cut(redact.Line(text), maxForeign)
}
