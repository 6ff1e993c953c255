package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/redact"
)

// Probe looks at the service as its clients do: through a real entry point.
type Probe struct {
	URL    string
	Expect string // must be contained in the body; empty: any 2xx will do
	Header map[string]string
}

// ErrWrongAnswer is wrapped by Check when the entry point answered, but not as
// expected. Any other error means that it could not be asked.
var ErrWrongAnswer = errors.New("not the answer expected")

// probeBody is how much of an answer is read.
const probeBody = 64 << 10

// probeClient keeps no connections: an open one could lead to where requests
// went before.
var probeClient = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// Check looks once. nil means that the answer is a 2xx that contains Expect.
// Proxies learn of a cutover a moment after it: the caller goes on looking
// until its own deadline.
func (p Probe) Check(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return fmt.Errorf("probe %s: %w", p.URL, err)
	}
	for name, value := range p.Header {
		if strings.EqualFold(name, "host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	answer, err := probeClient.Do(req)
	if err != nil {
		return quoting("probe", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, probeBody))
	switch {
	case err != nil:
		return quoting("probe "+p.URL, err)
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return fmt.Errorf("%w: status %d", ErrWrongAnswer, answer.StatusCode)
	case !strings.Contains(string(body), p.Expect):
		return fmt.Errorf("%w: %q does not contain %q", ErrWrongAnswer, cut(string(body), 80), p.Expect)
	}
	return nil
}

// quoting wraps an error of HTTP's, or gives its words where those quote what was
// answered: a line of it may be long, and hold anything.
func quoting(what string, err error) error {
	const most = 500
	text := err.Error()
	if words := cut(redact.Line(text), most); words != text {
		return fmt.Errorf("%s: %s", what, words)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// cut is the beginning of a text, for messages.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
