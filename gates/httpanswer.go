package gates

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/redact"
)

// maxBody is how much of an answer's body is looked at.
const maxBody = 1 << 20

// answer is what asking somebody came to. Err: there was no answer. Wrong: what
// was not as expected, or empty. Unknown: why what was answered says nothing.
type answer struct {
	err     error
	wrong   string
	unknown string
	status  int
	body    string // excerpt, when it was looked at and was wrong
	strange []byte // the body that was not as expected
	large   bool   // there was more body than was looked at
	took    time.Duration
	step    string // the last that was taken, in a sequence
	health  string // status of a health check
}

func (a answer) figures() map[string]string {
	figures := map[string]string{}
	if a.status != 0 {
		figures["status"] = strconv.Itoa(a.status)
	}
	if a.took > 0 {
		figures["took_ms"] = strconv.FormatFloat(float64(a.took.Microseconds())/1000, 'f', 1, 64)
	}
	if a.body != "" {
		figures["body"] = a.body
	}
	if a.health != "" {
		figures["health"] = a.health
	}
	if a.step != "" {
		figures["step"] = a.step
	}
	if a.large {
		figures["body_looked_at"] = "the first 1 MiB"
	}
	return figures
}

// judge compares the answer with what is expected, and saves what later steps
// use. What is to be saved is a secret also where the answer is not as expected.
func (v *visit) judge(step Step, resp *http.Response) answer {
	a := answer{status: resp.StatusCode}
	expected := slices.Contains(step.Status, resp.StatusCode)
	var body []byte
	var err error
	switch {
	case !expected: // evidence only: as much as comes, and no more than is shown
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxRead))
	case step.readsBody(): // else it may be endless, and nobody asked for it
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
		if len(body) > maxBody {
			body, a.large = body[:maxBody], true
		}
	}
	unsaved := v.save(step, resp.Header, body)
	if !expected {
		a.wrong = fmt.Sprintf("answered %d, expected %s", resp.StatusCode, oneOf(step.Status))
		switch {
		case resp.Header.Get("Location") != "" && resp.StatusCode/100 == 3 && !v.FollowRedirects:
			a.wrong += " (redirects are not followed)"
		case resp.StatusCode == http.StatusBadRequest && bytes.Contains(body, []byte("HTTP request to an HTTPS server")):
			a.wrong += ` (it speaks TLS there: scheme = "https")`
		}
		if unsaved == "" || resp.StatusCode >= http.StatusBadRequest {
			a.body = excerpt(v.secrets, body, err == nil && len(body) < maxRead)
		}
		return a
	}
	if err != nil {
		a.err = fmt.Errorf("reading the body: %w", v.safe(err))
		return a
	}
	if a.wrong = v.mismatch(step, body); a.wrong != "" {
		a.strange = body
	} else {
		a.wrong = unsaved
	}
	if a.wrong != "" && step.readsBody() {
		if unsaved == "" { // else what was to be saved may stand elsewhere in it
			a.body = excerpt(v.secrets, body, !a.large)
		}
		if a.large {
			a.wrong += " (the body is larger than 1 MiB, and only that much was looked at)"
		}
	}
	return a
}

// save takes from an answer what the step says. It gives the first that is not
// there.
func (v *visit) save(step Step, header http.Header, body []byte) (missing string) {
	for _, save := range step.Save {
		value, wrong := save.from(header, body)
		if wrong != "" {
			if missing == "" {
				missing = redact.Cut(v.secrets.Scrub(wrong), maxExcerpt)
			}
			continue
		}
		v.saved[save.Name] = value
		v.hide(value)
	}
	return missing
}

// mismatch says in what the body differs, or nothing.
func (v *visit) mismatch(step Step, body []byte) string {
	if step.BodyContains != "" && !bytes.Contains(body, []byte(step.BodyContains)) {
		return fmt.Sprintf("answered a body without %q", redact.Cut(v.secrets.Scrub(step.BodyContains), maxExcerpt))
	}
	if step.BodyRegex != nil && !step.BodyRegex.Match(body) {
		return fmt.Sprintf("answered a body that does not match %q", redact.Cut(v.secrets.Scrub(step.BodyRegex.String()), maxExcerpt))
	}
	if len(step.JSON) > 0 {
		if wrong := mismatchJSON(body, step.JSON); wrong != "" {
			return redact.Cut(v.secrets.Scrub(wrong), maxExcerpt)
		}
	}
	return ""
}

func oneOf(status []int) string {
	texts := make([]string, len(status))
	for i, s := range status {
		texts[i] = strconv.Itoa(s)
	}
	return strings.Join(texts, " or ")
}
