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
	"sync"
	"syscall"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

const (
	maxHeader     = 256 << 10 // of an answer's header
	maxRedirects  = 10
	maxConcurrent = 8 // instances asked at a time
)

// prepared is a request and its expectations with the placeholders filled in.
type prepared struct {
	HTTP
	secrets secrets
}

func (g HTTP) prepare(target Target) (prepared, error) {
	e := expander{target}
	var errs []error
	fill := func(s string, expand func(string) (string, error)) string {
		out, err := expand(s)
		if err != nil {
			errs = append(errs, err)
		}
		return out
	}
	p := prepared{HTTP: g}
	p.URL = fill(g.URL, e.url)
	p.Path = fill(g.Path, e.url)
	p.Body = fill(g.Body, e.text)
	p.BodyContains = fill(g.BodyContains, e.text)
	p.Headers = map[string]string{}
	for name, value := range g.Headers {
		value = fill(value, e.text)
		if !validHeaderValue(value) {
			errs = append(errs, fmt.Errorf("the value of header %s holds a control character", name))
		}
		p.Headers[name] = value
	}
	p.JSON = map[string]string{}
	for path, value := range g.JSON {
		p.JSON[path] = fill(value, e.text)
	}
	p.secrets = secretsOf(p.Headers, p.Path, p.Body)
	if g.Every == EveryPreview {
		p.Headers[PreviewHeader] = string(target.Colour)
	}
	if len(errs) > 0 {
		return prepared{}, errs[0]
	}
	return p, nil
}

// preview asks once, through the entry point.
func (g HTTP) preview(ctx context.Context, p prepared) (Finding, error) {
	a := p.ask(ctx, strings.TrimSuffix(p.URL, "/")+p.Path)
	if a.err != nil {
		return Finding{}, fmt.Errorf("entry point %s: %w", p.URL, a.err)
	}
	finding := Finding{Verdict: Pass, Figures: a.figures()}
	finding.Figures["url"] = p.URL
	finding.Reason = fmt.Sprintf("%s %s through %s answered as expected", p.Method, p.shown(), p.URL)
	if a.wrong != "" {
		finding.Verdict = Fail
		finding.Reason = fmt.Sprintf("%s %s through %s %s", p.Method, p.shown(), p.URL, a.wrong)
	}
	return finding, nil
}

// instances asks all that Consul would route to, a few at a time. One whose
// turn comes so late that the look ends before it could answer was not asked:
// that there are many instances is no fault of theirs.
func (g HTTP) instances(ctx context.Context, p prepared, target Target) (Finding, error) {
	var late time.Time // who is asked after it has too little time
	if deadline, ok := ctx.Deadline(); ok {
		late = deadline.Add(-time.Until(deadline) / 2)
	}
	var asked []deployment.Instance
	for _, instance := range target.Instances {
		if instance.Serving() {
			asked = append(asked, instance)
		}
	}
	answers := make([]answer, len(asked))
	slots := make(chan struct{}, maxConcurrent)
	var wg sync.WaitGroup
	for i, instance := range asked {
		slots <- struct{}{} // held at most for the look's timeout
		wg.Go(func() {
			defer func() { <-slots }()
			answers[i] = p.askInstance(ctx, instance, late)
		})
	}
	wg.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return Finding{}, ctx.Err()
	}

	var passed int
	var wrong, unasked []string
	var shown answer // the evidence: the first failure, else the slowest answer
	for i, a := range answers {
		name := fmt.Sprintf("%s (%s)", asked[i].ID, asked[i].HostPort())
		switch {
		case a.err != nil:
			unasked = append(unasked, fmt.Sprintf("%s: %s", name, a.err))
			continue
		case a.wrong != "":
			if len(wrong) == 0 {
				shown = a
			}
			wrong = append(wrong, fmt.Sprintf("%s %s", name, a.wrong))
		default:
			passed++
			if len(wrong) == 0 && a.took >= shown.took {
				shown = a
			}
		}
	}
	finding := Finding{Figures: shown.figures()}
	finding.Figures["asked"] = strconv.Itoa(len(asked))
	finding.Figures["passed"] = strconv.Itoa(passed)
	what := fmt.Sprintf("%s %s", p.Method, p.shown())
	switch {
	case passed == len(asked) || passed > 0 && g.Every == EveryAny:
		finding.Verdict = Pass
		finding.Reason = fmt.Sprintf("%s: %d of %d instances answered as expected", what, passed, len(asked))
	case len(unasked) > 0 && (len(wrong) == 0 || g.Every == EveryAny):
		return finding, fmt.Errorf("%s: %s", what, listed(unasked))
	default:
		finding.Verdict = Fail
		finding.Reason = fmt.Sprintf("%s: %d of %d instances did not pass: %s", what, len(wrong), len(asked), listed(wrong))
	}
	return finding, nil
}

// shown is the path as evidence has it: a query may hold a token.
func (p prepared) shown() string {
	path, _, hasQuery := strings.Cut(p.Path, "?")
	if hasQuery {
		path += "?…"
	}
	return p.secrets.scrub(path)
}

// askInstance asks one instance. That it cannot be reached is its failure,
// unless the fault is on our side.
func (p prepared) askInstance(ctx context.Context, instance deployment.Instance, late time.Time) answer {
	port := instance.Port
	if p.Port != 0 {
		port = p.Port
	}
	if instance.Address == "" || port == 0 {
		return answer{err: errors.New("its address and port are not in Consul")}
	}
	host := net.JoinHostPort(instance.Address, strconv.Itoa(port))
	began := time.Now()
	a := p.ask(ctx, p.Scheme+"://"+host+p.Path)
	if errors.Is(a.err, context.DeadlineExceeded) && !late.IsZero() && began.After(late) {
		return answer{err: errors.New("the look's timeout left it too little time; a longer timeout lets all be asked")}
	}
	if a.err != nil && !ours(a.err) {
		a.wrong, a.err = "did not answer: "+a.err.Error(), nil
	}
	return a
}

// ask sends the request. Its answer's err is set when there was no answer.
func (p prepared) ask(ctx context.Context, to string) answer {
	req, err := http.NewRequestWithContext(ctx, p.Method, to, strings.NewReader(p.Body))
	if err != nil {
		return answer{err: p.safe(err)}
	}
	for name, value := range p.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", "teal-gate")
	}

	began := time.Now()
	resp, err := p.client().Do(req)
	var refused redirectError
	if errors.As(err, &refused) {
		return answer{wrong: p.secrets.scrub(refused.Error()), took: time.Since(began)}
	}
	if err != nil {
		return answer{err: p.safe(err)}
	}
	defer resp.Body.Close() //nolint:errcheck // read side
	a := p.judge(resp)
	a.took = time.Since(began)
	return a
}

// client is made for one look: a gate asks seldom, and a connection of its own
// proves that a new one is accepted. No proxy of the agent's environment comes
// between.
func (p prepared) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxHeader,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: p.TLSSkipVerify}, //nolint:gosec // the policy's choice
		},
		CheckRedirect: p.redirect,
	}
}

// redirectError is a redirect that is not followed. It is the candidate's
// answer, and a wrong one.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// redirect keeps to the host that was asked: another one is not the candidate,
// and must not be shown the configured headers.
func (p prepared) redirect(req *http.Request, via []*http.Request) error {
	if !p.FollowRedirects {
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
func (p prepared) safe(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	if text := p.secrets.scrub(err.Error()); text != line(err.Error()) {
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
