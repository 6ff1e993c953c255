package gates

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxBody is how much of an answer's body is looked at.
const maxBody = 1 << 20

// answer is what one request came to. Err: nobody could ask. Wrong: what was
// not as expected, or empty.
type answer struct {
	err    error
	wrong  string
	status int
	body   string // excerpt, when it was looked at and was wrong
	large  bool   // there was more body than was looked at
	took   time.Duration
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
	if a.large {
		figures["body_looked_at"] = "the first 1 MiB"
	}
	return figures
}

// judge compares the answer with what is expected.
func (p prepared) judge(resp *http.Response) answer {
	a := answer{status: resp.StatusCode}
	var expected bool
	for _, status := range p.Status {
		expected = expected || status == resp.StatusCode
	}
	if expected && p.BodyRegex == nil && p.BodyContains == "" && len(p.JSON) == 0 {
		return a // the body may be endless, and nobody asked for it
	}
	if !expected {
		a.wrong = fmt.Sprintf("answered %d, expected %s", resp.StatusCode, oneOf(p.Status))
		if resp.Header.Get("Location") != "" && resp.StatusCode/100 == 3 && !p.FollowRedirects {
			a.wrong += " (redirects are not followed)"
		}
		// Evidence only: as much as comes, and no more than is shown.
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxRead))
		a.body = p.secrets.excerpt(body, err == nil && len(body) < maxRead)
		return a
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if len(body) > maxBody {
		body, a.large = body[:maxBody], true
	}
	if err != nil {
		a.err = fmt.Errorf("reading the body: %w", p.safe(err))
		return a
	}
	if a.wrong = p.mismatch(body); a.wrong != "" {
		a.body = p.secrets.excerpt(body, !a.large)
		if a.large {
			a.wrong += " (the body is larger than 1 MiB, and only that much was looked at)"
		}
	}
	return a
}

// mismatch says in what the body differs, or nothing.
func (p prepared) mismatch(body []byte) string {
	if p.BodyContains != "" && !bytes.Contains(body, []byte(p.BodyContains)) {
		return fmt.Sprintf("answered a body without %q", cut(p.secrets.scrub(p.BodyContains), maxExcerpt))
	}
	if p.BodyRegex != nil && !p.BodyRegex.Match(body) {
		return fmt.Sprintf("answered a body that does not match %q", cut(p.secrets.scrub(p.BodyRegex.String()), maxExcerpt))
	}
	if len(p.JSON) > 0 {
		if wrong := mismatchJSON(body, p.JSON); wrong != "" {
			return cut(p.secrets.scrub(wrong), maxExcerpt)
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
