package gates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/redact"
)

const (
	maxHeader    = 256 << 10 // of an answer's header
	maxRedirects = 10
)

// look is a gate about to ask: all that is the same for everybody who is asked.
type look struct {
	HTTP
	target  Target
	secrets secrets
	tls     *tls.Config
}

// prepare fills in what is known of the candidate, so that nobody is asked while
// something is not, and reads the files of the block tls.
func (g HTTP) prepare(target Target) (look, error) {
	l := look{HTTP: g, target: target}
	e := expander{target: target}
	var err error
	if l.URL, err = e.url(g.URL); err != nil {
		return look{}, err
	}
	for _, step := range g.Steps {
		filled, err := step.fill(e)
		if err != nil {
			return look{}, err
		}
		l.secrets = l.secrets.And(secretsOf(filled.Headers, filled.Path, filled.Body))
	}
	if l.tls, err = ask.TLS(g.TLS.Settings()); err != nil {
		return look{}, err
	}
	return l, nil
}

// visit is one run of the steps, against one host: what was saved so far, and
// its cookies.
type visit struct {
	look
	saved   map[string]string
	cookies *cookies
}

func (l look) visit() *visit {
	v := &visit{look: l, saved: map[string]string{}}
	v.cookies = newCookies(v.hide)
	return v
}

// hide makes secrets of values that an answer held.
func (v *visit) hide(values ...string) {
	as := map[string]string{} // headers, which they may become
	for i, value := range values {
		as[strconv.Itoa(i)] = value
	}
	v.secrets = v.secrets.And(secretsOf(as, "", ""))
}

// what is asked, as evidence has it.
func (l look) what() string {
	if l.Steps[0].Name != "" {
		names := make([]string, len(l.Steps))
		for i, step := range l.Steps {
			names[i] = step.Name
		}
		return redact.Cut("steps "+strings.Join(names, ", "), maxExcerpt)
	}
	step, _ := l.Steps[0].fill(expander{target: l.target}) // prepare has done it before
	return step.Method + " " + l.shown(step)
}

// shown is a step's path as evidence has it: a query may hold a token.
func (l look) shown(step Step) string {
	path, _, hasQuery := strings.Cut(step.Path, "?")
	if hasQuery {
		path += "?…"
	}
	return redact.Cut(l.secrets.Scrub(path), maxExcerpt)
}

// walk takes the steps one after another, until one is not answered as
// expected, and gives the last answer with the time that all took together.
func (v *visit) walk(ctx context.Context, base string) answer {
	return v.steps(ctx, v.client(), base)
}

func (v *visit) steps(ctx context.Context, client *http.Client, base string) (a answer) {
	var took time.Duration
	for _, step := range v.Steps {
		filled, err := step.fill(expander{v.target, v.saved})
		if err != nil { // by what an answer held: all else was filled in before
			return answer{step: step.Name, took: took, wrong: fmt.Sprintf("at step %s gave a value that cannot be sent: %s", step.Name, v.secrets.Scrub(err.Error()))}
		}
		v.secrets = v.secrets.And(secretsOf(filled.Headers, filled.Path, filled.Body))
		a = v.ask(ctx, client, base, filled)
		took += a.took
		a.step, a.took = step.Name, took
		switch {
		case a.strange != nil && v.servesInstead(step, a.strange):
			a.wrong, a.unknown = "", fmt.Sprintf("%swas answered by %s (%s), which serves: the entry point does not know the header %s, or does not pass it on", a.at(), v.target.Serving, v.target.ServingVersion, PreviewHeader)
			return a
		case a.wrong != "" && step.Name != "":
			a.wrong = fmt.Sprintf("%s%s", a.at(), a.wrong)
			return a
		case a.wrong != "" || a.err != nil:
			return a
		}
	}
	return a
}

// at says at which step of a sequence something was.
func (a answer) at() string {
	if a.step == "" {
		return ""
	}
	return fmt.Sprintf("at step %s ", a.step)
}

// ask sends one step's request. Its answer's err is set when there was no answer.
func (v *visit) ask(ctx context.Context, client *http.Client, base string, step Step) answer {
	req, err := http.NewRequestWithContext(ctx, step.Method, base+step.Path, strings.NewReader(step.Body))
	if err != nil {
		return answer{err: v.safe(err)}
	}
	for name, value := range step.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	if v.Every == EveryPreview {
		req.Header.Set(PreviewHeader, string(v.target.Colour))
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", "teal-gate")
	}

	began := time.Now()
	resp, err := client.Do(req)
	var refused redirectError
	if errors.As(err, &refused) {
		return answer{wrong: v.secrets.Scrub(refused.Error()), took: time.Since(began)}
	}
	if err != nil {
		return answer{err: v.safe(err)}
	}
	defer resp.Body.Close() //nolint:errcheck // read side
	a := v.judge(step, resp)
	a.took = time.Since(began)
	return a
}

// client is made for one visit: a gate asks seldom, and a connection of its own
// proves that a new one is accepted. No proxy of the agent's environment comes
// between.
func (v *visit) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxHeader,
			TLSClientConfig:        v.tls.Clone(),
		},
		CheckRedirect: v.redirect,
		Jar:           v.cookies,
	}
}

// redirectError is a redirect that is not followed. It is the candidate's
// answer, and a wrong one.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// redirect keeps to the host that was asked: another one is not the candidate,
// and must not be shown the configured headers.
func (l look) redirect(req *http.Request, via []*http.Request) error {
	if !l.FollowRedirects {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return redirectError(fmt.Sprintf("redirected more than %d times, at last to %s", maxRedirects, req.URL.EscapedPath()))
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return redirectError(fmt.Sprintf("redirected to %s://%s, which is not the candidate", req.URL.Scheme, req.URL.Host))
	}
	return nil
}

// safe takes the URL out of an error (its query may hold a token), and any
// secret the peer has echoed into it.
func (v *visit) safe(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	if text := v.secrets.Scrub(err.Error()); text != redact.Line(err.Error()) {
		return errors.New(text)
	}
	return err
}

// ours says whether a request failed for a reason that is no fault of who was
// asked: our own limits, network or name server.
func ours(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.ENETDOWN, syscall.ENETUNREACH} {
		if errors.Is(err, errno) {
			return true
		}
	}
	var name *net.DNSError
	return errors.As(err, &name) && !name.IsNotFound
}
