package gates

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
)

const (
	maxRate     = 20_000           // requests a second from one agent
	maxLoad     = 30 * time.Minute // of a load
	maxLoadBusy = 2_000            // requests under way at a time
	// reached is the share of the rate that has to be sent for the answers to
	// say what they are asked for.
	reached = 0.9
)

// Load is the gate of kind "load": requests at a rate against the candidate's
// instances, and what share may fail and how long answers may take. It aims at
// nothing else: its targets are paths, and an instance that is not of the
// candidate's colour is refused.
//
// It fails when a limit is passed. When the rate could not be sent and no limit
// was passed, nothing is known.
type Load struct {
	Rate     int // requests a second, over all instances together
	Duration time.Duration
	Ramp     time.Duration // in which the rate grows to Rate; not judged
	Paths    []string
	Method   string
	Headers  map[string]string
	Body     string
	Scheme   string
	Port     int
	Answer   time.Duration // within which an answer has to come

	Errors float64 // share of requests that may fail
	P50    time.Duration
	P95    time.Duration
	P99    time.Duration

	TLS *measure.TLS `json:",omitempty"`
}

func decodeLoad(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	g := Load{Duration: 30 * time.Second, Paths: []string{"/"}, Method: http.MethodGet, Scheme: "http", Answer: 10 * time.Second, Errors: 0.01}
	d := hclbody.New(`gate "load"`, eval)
	d.Int("rate", &g.Rate, hclbody.Required, hclbody.Within(1, maxRate))
	d.Duration("duration", &g.Duration)
	d.Duration("ramp", &g.Ramp, hclbody.ZeroAllowed)
	d.Strings("paths", &g.Paths, hclbody.NotEmpty)
	d.String("method", &g.Method, hclbody.OneOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
	d.StringMap("headers", &g.Headers)
	d.String("body", &g.Body)
	d.String("scheme", &g.Scheme, hclbody.OneOf("http", "https"))
	d.Int("port", &g.Port, hclbody.Within(1, 65535))
	d.Duration("answer_within", &g.Answer)
	d.Number("errors", &g.Errors, hclbody.Within(0, 1))
	d.Duration("p50", &g.P50)
	d.Duration("p95", &g.P95)
	d.Duration("p99", &g.P99)
	d.Block("tls")
	d.Elsewhere(shared...)
	d.Decode(body)
	g.TLS = measure.TLSIn(d, eval)
	g.TLS.CheckScheme(d, g.Scheme)
	g.validate(d)
	return g, d.Diagnostics()
}

func (g Load) validate(d *hclbody.Decoder) {
	if len(g.Paths) == 0 {
		d.Errorf("paths", "Nothing to ask", "The list is empty.")
	}
	for _, path := range g.Paths {
		if !strings.HasPrefix(path, "/") {
			d.Errorf("paths", "Invalid path", "%q must begin with a slash: a load is aimed at the candidate's instances, and never at a URL.", path)
		} else if err := parsable("http://host" + path); err != nil {
			d.Errorf("paths", "Invalid path", "%q: %s.", path, err)
		}
	}
	if g.Duration+g.Ramp > maxLoad {
		d.Errorf("duration", "Load too long", "%s of load are too long; at most %s.", g.Duration+g.Ramp, maxLoad)
	}
	if g.Duration < time.Second {
		d.Errorf("duration", "Load too short", "In %s nothing is learned; at least 1s.", g.Duration)
	}
	limits := []struct {
		name string
		is   time.Duration
	}{{"p50", g.P50}, {"p95", g.P95}, {"p99", g.P99}}
	for i, limit := range limits {
		for _, wider := range limits[i+1:] {
			if limit.is > 0 && wider.is > 0 && wider.is < limit.is {
				d.Errorf(wider.name, "Contradictory limits", "%s may take %s, and %s only %s.", limit.name, limit.is, wider.name, wider.is)
			}
		}
		if limit.is > g.Answer {
			d.Errorf(limit.name, "Limit that cannot be passed", "An answer that takes longer than %s (answer_within) is an error already.", g.Answer)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Headers)) {
		if !validHeaderName(name) || !validHeaderValue(g.Headers[name]) {
			d.Errorf("headers", "Invalid header", "%q cannot be sent.", name)
		}
	}
}

// lasts is how long a look takes at least.
func (g Load) lasts() time.Duration { return g.Ramp + g.Duration }

// Check implements Gate.
func (g Load) Check(ctx context.Context, target Target) (Finding, error) {
	if _, missing := target.given(); missing != "" {
		return Finding{Reason: missing}, nil
	}
	targets, hidden, err := g.targets(target)
	if err != nil {
		return Finding{}, err
	}
	secure, err := ask.TLS(g.TLS.Settings())
	if err != nil {
		return Finding{}, err
	}
	target.Say(fmt.Sprintf("%d requests a second for %s against %d instances", g.Rate, g.Duration, len(targets)/len(g.Paths)))
	client := &http.Transport{ // without a proxy of the agent's environment
		DialContext: dialUntil(ctx), TLSClientConfig: secure, MaxIdleConnsPerHost: maxLoadBusy,
	}
	defer client.CloseIdleConnections() // which the candidate would keep for as long as it runs
	aim := vegeta.NewStaticTargeter(targets...)
	if g.Ramp > 0 {
		start := max(1, g.Rate/10) // its pacer is slow to leave a lower one
		slope := float64(g.Rate-start) / g.Ramp.Seconds()
		if _, err := g.attack(ctx, client, aim, vegeta.LinearPacer{StartAt: vegeta.Rate{Freq: start, Per: time.Second}, Slope: slope}, g.Ramp); err != nil {
			return Finding{}, err
		}
	}
	seen, err := g.attack(ctx, client, aim, vegeta.Rate{Freq: g.Rate, Per: time.Second}, g.Duration)
	if err != nil {
		return Finding{}, err
	}
	return g.judge(seen, hidden)
}

// dialUntil opens connections that are closed when ctx ends. What waits for an answer
// on them ends with it: vegeta's requests know no context, and who was to let go would
// have to wait for as long as an answer may take.
func dialUntil(ctx context.Context) func(context.Context, string, string) (net.Conn, error) {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		dialing, cancel := context.WithCancel(dialing)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		conn, err := (&net.Dialer{}).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		return leashed{conn, context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
}

// leashed is a connection that somebody would close, were it not closed before.
type leashed struct {
	net.Conn
	free func() bool
}

// Close implements net.Conn.
func (l leashed) Close() error {
	l.free()
	return l.Conn.Close()
}

// targets are the paths on each of the candidate's instances.
func (g Load) targets(target Target) ([]vegeta.Target, secrets, error) {
	e := expander{target: target}
	header := http.Header{"User-Agent": {"teal-gate"}}
	for name, value := range g.Headers {
		value, err := e.text(value)
		if err != nil {
			return nil, nil, err
		}
		header.Set(name, value)
	}
	body, err := e.text(g.Body)
	if err != nil {
		return nil, nil, err
	}
	hidden := secretsOf(g.Headers, strings.Join(g.Paths, "&"), body)
	var targets []vegeta.Target
	for _, i := range target.Instances {
		if i.Colour != target.Colour {
			return nil, nil, fmt.Errorf("instance %s is %s and not %s: no load is put on it", i.ID, i.Colour, target.Colour)
		}
		if !i.Serving() {
			continue
		}
		host, err := target.at(i, g.Port)
		if err != nil {
			return nil, nil, fmt.Errorf("instance %s: %w", i.ID, err)
		}
		for _, path := range g.Paths {
			if path, err = e.url(path); err != nil {
				return nil, nil, err
			}
			targets = append(targets, vegeta.Target{
				Method: g.Method, URL: g.Scheme + "://" + host + path,
				Header: header, Body: []byte(body),
			})
		}
	}
	return targets, hidden, nil
}

// seen is what an attack came to.
type seen struct {
	vegeta.Metrics
	failed  int
	failure string // the first that was seen, by its words
	ours    string // a failure that is no fault of the candidate's
}

// attack sends requests for a while and adds up the answers. It keeps none.
func (g Load) attack(ctx context.Context, client *http.Transport, aim vegeta.Targeter, pace vegeta.Pacer, lasts time.Duration) (*seen, error) {
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{Transport: client}), // first: the others set what it has
		vegeta.Timeout(g.Answer), vegeta.Redirects(vegeta.NoFollow), vegeta.MaxBody(0), vegeta.MaxWorkers(maxLoadBusy),
	)
	stopped := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stopped()
	s := &seen{}
	for r := range attacker.Attack(aim, pace, lasts, "") {
		if r.Error != "" || r.Code >= http.StatusBadRequest {
			s.failed++
			words := r.Error
			if r.Code != 0 {
				words = fmt.Sprintf("status %d", r.Code)
			}
			if s.failure == "" {
				s.failure = words
			}
			if r.Code == 0 && s.ours == "" && oursByWords(r.Error) {
				s.ours = words
			}
		}
		r.Error = "" // vegeta would keep each that differs
		s.Add(r)
	}
	s.Close()
	if err := ctx.Err(); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("the look's timeout ended the load before its time")
		}
		return nil, err
	}
	return s, nil
}

// oursByWords is what ours says of an error of which only the words are left.
func oursByWords(words string) bool {
	for _, limit := range []string{"too many open files", "cannot assign requested address", "no buffer space", "network is unreachable", "network is down"} {
		if strings.Contains(words, limit) {
			return true
		}
	}
	return false
}

// judge holds what was seen against the limits.
func (g Load) judge(s *seen, hidden secrets) (Finding, error) {
	if s.Requests == 0 {
		return Finding{}, errors.New("not one request was sent")
	}
	share := float64(s.failed) / float64(s.Requests)
	l := s.Latencies
	f := Finding{Figures: map[string]string{
		"requests": strconv.FormatUint(s.Requests, 10),
		"rate":     fmt.Sprintf("%.0f/s", s.Rate),
		"errors":   fmt.Sprintf("%.2f %%", share*100),
		"p50":      rounded(l.P50), "p95": rounded(l.P95), "p99": rounded(l.P99), "max": rounded(l.Max),
	}}
	var passed []string
	if share > g.Errors {
		passed = append(passed, fmt.Sprintf("%.2f %% of %d requests failed, more than %.2f %%, at first with: %s", share*100, s.Requests, g.Errors*100, hidden.Scrub(advised(errors.New(s.failure), "the instance", g.Scheme == "https", g.TLS))))
	}
	for _, limit := range []struct {
		name   string
		is, at time.Duration
	}{{"p50", l.P50, g.P50}, {"p95", l.P95, g.P95}, {"p99", l.P99, g.P99}} {
		if limit.at > 0 && limit.is > limit.at {
			passed = append(passed, fmt.Sprintf("%s was %s, more than %s", limit.name, rounded(limit.is), limit.at))
		}
	}
	switch {
	case s.ours != "":
		return f, fmt.Errorf("the load could not be sent from here: %s", hidden.Scrub(s.ours))
	case len(passed) > 0:
		f.Verdict, f.Reason = Fail, strings.Join(passed, "; ")
	case s.Rate < reached*float64(g.Rate):
		f.Reason = fmt.Sprintf("only %.0f of %d requests a second could be sent, and no limit was passed", s.Rate, g.Rate)
	default:
		f.Verdict, f.Reason = Pass, fmt.Sprintf("%d requests at %.0f a second: %.2f %% failed, p99 %s", s.Requests, s.Rate, share*100, rounded(l.P99))
	}
	return f, nil
}

func rounded(d time.Duration) string {
	if d > time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
