// Package ask puts queries to metrics services: Prometheus by its official client,
// anybody else by HTTP and JSON, an instance's own endpoint in the Prometheus text
// format. Answers are bounded in size and in time, lead to no other host, and are
// either whole or an error.
package ask

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/plainfile"
	"github.com/tealdeploy/teal/agent/redact"
)

const (
	maxBody      = 4 << 20  // of an answer, unpacked
	maxHeader    = 64 << 10 // of an answer's header
	maxSecret    = 64 << 10 // of a file with a header's value or with certificates
	maxRedirects = 3
	maxError     = 300      // characters; who is asked can write into them
	maxLooked    = 16 << 10 // bytes of a text that those are taken from
)

// Query puts a query whose placeholders are filled in. At is the moment that a
// Prometheus is asked about; zero is now.
func Query(ctx context.Context, q measure.Query, at time.Time) ([]measure.Value, error) {
	var access measure.Access
	var put func(client) ([]measure.Value, error)
	switch q := q.(type) {
	case measure.Prometheus:
		access, put = q.Access, func(c client) ([]measure.Value, error) { return c.prometheus(ctx, q, at) }
	case measure.Document:
		access, put = q.Access, func(c client) ([]measure.Value, error) { return c.document(ctx, q) }
	default:
		return nil, fmt.Errorf("nobody knows how to ask a %T", q)
	}
	c, err := newClient(access)
	if err != nil { // by our own words, in which headers have names
		return nil, fmt.Errorf("%s: %s", q.Target(), redact.Cut(redact.Line(err.Error()), maxError))
	}
	values, err := put(c)
	if err != nil {
		err = c.plain(ctx, err)
		if advice := ofService(err); advice != "" {
			err = fmt.Errorf("%w (%s)", err, advice)
		}
		return nil, fmt.Errorf("%s: %w", q.Target(), err)
	}
	return values, nil
}

// client is one for a single question: those are seldom, and secrets and
// certificates may change between two. No proxy of the agent's environment comes
// between.
type client struct {
	http *http.Client
	// hidden are the values of header_files, which whoever is asked may echo.
	hidden redact.Secrets
}

func newClient(a measure.Access) (client, error) {
	settings, err := TLS(a.TLS)
	if err != nil {
		return client{}, err
	}
	headers := http.Header{}
	for name, value := range a.Headers {
		headers.Set(name, value)
	}
	var hidden []string
	for name, path := range a.HeaderFiles {
		value, err := plainfile.Read(path, maxSecret)
		if err != nil {
			return client{}, fmt.Errorf("header_files: %s: %w", name, err)
		}
		text := strings.TrimSpace(string(value))
		if text == "" || strings.ContainsFunc(text, unicode.IsControl) {
			return client{}, fmt.Errorf("header_files: %s: %s holds no value of one line", name, path)
		}
		headers.Set(name, text)
		hidden = append(hidden, redact.Header(text)...)
	}
	return client{hidden: redact.Spelled(hidden...), http: &http.Client{
		Transport: &bounded{headers: headers, base: &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxHeader, TLSClientConfig: settings,
			DialContext: (&net.Dialer{}).DialContext,
		}},
		CheckRedirect: sameHost,
	}}, nil
}

// plain makes one short line of an error, without the URL, which may hold a
// secret and stands before it as far as it may be told.
func (c client) plain(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return errors.New("no whole answer in time")
	}
	for u := (*url.Error)(nil); errors.As(err, &u); u = nil {
		err = u.Err
	}
	return errors.New(c.shorten(err.Error()))
}

// sameHost lets a redirect lead to another path and nowhere else: another host's
// answer is not what was asked for, and the headers are not for it.
func sameHost(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("redirected to %s://%s, which was not asked", req.URL.Scheme, req.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	}
	return nil
}

// bounded adds the headers, and bounds the body of every answer.
type bounded struct {
	headers http.Header
	base    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, values := range b.headers {
		if name == "Host" {
			req.Host = values[0]
			continue
		}
		req.Header[name] = values
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "teal")
	}
	resp, err := b.base.RoundTrip(req)
	if err == nil {
		resp.Body = &capped{resp.Body, maxBody}
	}
	return resp, err
}

// capped is a body that must end before its limit.
type capped struct {
	io.ReadCloser
	left int64
}

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.ReadCloser.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// get asks and reads the whole answer, which must have status 200.
func (c client) get(ctx context.Context, at, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read side
	if resp.StatusCode != http.StatusOK {
		return nil, Unexpected(resp)
	}
	return io.ReadAll(resp.Body)
}

// Unexpected is the error of an answer whose status is not 200.
func Unexpected(resp *http.Response) error {
	err := fmt.Errorf("answered %d, expected 200", resp.StatusCode)
	if resp.StatusCode == http.StatusBadRequest {
		const spoken = "Client sent an HTTP request to an HTTPS server" // in the words of Go's servers
		if body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)); strings.Contains(string(body), spoken) {
			err = fmt.Errorf("%w: %s", err, spoken)
		}
	}
	return err
}

func (c client) document(ctx context.Context, q measure.Document) ([]measure.Value, error) {
	body, err := c.get(ctx, q.URL, "application/json")
	if err != nil {
		return nil, err
	}
	values, err := q.Values(body)
	for i := range values {
		values[i].Name = c.shorten(values[i].Name)
	}
	return values, err
}

// shorten makes one short printable line of a text from outside, without the secrets
// that were sent there.
func (c client) shorten(text string) string {
	if len(text) > maxLooked {
		text = c.hidden.ScrubCut(text[:maxLooked])
	} else {
		text = c.hidden.Scrub(text)
	}
	return redact.Cut(text, maxError)
}
