// Package scrape reads instances' Prometheus endpoints. It keeps what it is
// asked for and nothing else, however much an endpoint has to say, and it never
// passes off half an answer as a whole one.
package scrape

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/redact"
	"github.com/tealdeploy/teal/rollback"
)

const (
	perScrape    = 16       // instances of one service asked at a time
	maxHeader    = 64 << 10 // of an answer's header
	maxRedirects = 3
	maxError     = 300 // characters of an error; endpoints can write into them
)

// Config bounds a Scraper. Zero fields stand for the defaults.
type Config struct {
	Timeout     time.Duration // for one instance's whole answer; 1s
	MaxBody     int64         // bytes of an answer, unpacked; 8 MiB
	MaxSeries   int           // of the wanted families; 10,000
	Concurrency int           // instances asked at a time, of all services; 64
}

// Scraper reads metrics endpoints. It is safe for concurrent use.
type Scraper struct {
	cfg     Config
	clients *clients
	slots   chan struct{}
}

// New makes a scraper. It asks nobody until Scrape.
func New(cfg Config) *Scraper {
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 8<<20)
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 10_000)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 64)
	return &Scraper{cfg: cfg, clients: newClients(cfg.Timeout), slots: make(chan struct{}, cfg.Concurrency)}
}

// Scrape asks every instance and returns their answers in the same order. An
// answer that is late, cut short, too large or not in the Prometheus text
// format is an error. Families are named as their lines are: of a histogram x
// ask for x_count, x_sum or x_bucket.
func (s *Scraper) Scrape(ctx context.Context, source rollback.ScrapeSource, families []string, instances []deployment.Instance) []rollback.Scrape {
	out := make([]rollback.Scrape, len(instances))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(perScrape, len(instances)) {
		wg.Go(func() {
			for i := range next {
				out[i] = s.one(ctx, source, families, instances[i])
			}
		})
	}
	for i := range instances {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// one asks one instance. Its time begins when its turn has come.
func (s *Scraper) one(ctx context.Context, source rollback.ScrapeSource, families []string, instance deployment.Instance) rollback.Scrape {
	out := rollback.Scrape{Instance: instance.ID}
	at, err := address(instance, source)
	if err == nil {
		select {
		case s.slots <- struct{}{}:
			out.Families, err = s.ask(ctx, at, source, families)
			<-s.slots
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			err = fmt.Errorf("metrics at %s: %w", at, err)
		}
	}
	out.At, out.Err = time.Now(), err
	return out
}

// address is the URL of an instance's endpoint.
func address(i deployment.Instance, source rollback.ScrapeSource) (string, error) {
	port := i.Port
	if source.Port != "" {
		value, where := source.Port, "port"
		if _, err := strconv.Atoi(value); err != nil {
			var ok bool
			if value, ok = i.Meta[source.Port]; !ok {
				return "", fmt.Errorf("its service has no meta %q to tell the metrics port; in the jobspec add meta { %s = \"${NOMAD_PORT_%s}\" } to the service, or name the port by number", source.Port, source.Port, source.Port)
			}
			where = fmt.Sprintf("meta %q", source.Port)
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 65535 {
			return "", fmt.Errorf("%s is %q, which is no port", where, shorten(value))
		}
		port = n
	}
	if i.Address == "" || port == 0 {
		return "", errors.New("no address and port of it are known to Consul")
	}
	return cmp.Or(source.Scheme, "http") + "://" + net.JoinHostPort(i.Address, strconv.Itoa(port)) + source.Path, nil
}

// ask reads one endpoint to its end.
func (s *Scraper) ask(ctx context.Context, at string, source rollback.ScrapeSource, families []string) (map[string]rollback.Family, error) {
	client, err := s.clients.of(source)
	if err != nil {
		return nil, err
	}
	mine, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	got, err := s.read(mine, client, at, families)
	switch {
	case err == nil:
		return got, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case mine.Err() != nil:
		return nil, fmt.Errorf("no whole answer within %s", s.cfg.Timeout)
	}
	// The URL stands in the message already.
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	advice := ""
	if source.Scheme == "https" {
		advice = ask.Advice(err, "the instance", &source.TLS)
	}
	switch text := err.Error(); {
	case advice != "":
		return nil, fmt.Errorf("%s (%s)", shorten(text), advice)
	case text != shorten(text):
		return nil, errors.New(shorten(text))
	}
	return nil, err
}

func (s *Scraper) read(ctx context.Context, client *http.Client, at string, families []string) (map[string]rollback.Family, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4;q=1,text/plain;q=0.5")
	req.Header.Set("User-Agent", "teal-scrape")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read side
	if resp.StatusCode != http.StatusOK {
		return nil, ask.Unexpected(resp)
	}
	if packed := resp.Header.Get("Content-Encoding"); packed != "" { // gzip was unpacked and taken out
		return nil, fmt.Errorf("answered in encoding %q; gzip or none was asked for", packed)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); strings.HasPrefix(kind, "application/") && kind != "application/octet-stream" {
		return nil, fmt.Errorf("answered %s; the Prometheus text format (text/plain) was asked for", kind)
	}
	return parse(&capped{resp.Body, s.cfg.MaxBody}, families, s.cfg.MaxSeries)
}

// sameHost lets a redirect lead to another path of the instance and nowhere
// else: another host's counters are not its own.
func sameHost(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("redirected to %s://%s, which is not the instance", req.URL.Scheme, req.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	}
	return nil
}

// capped is a body that must end before its limit.
type capped struct {
	io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.Reader.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errors.New("the answer is too large")
	}
	return n, err
}

// shorten makes one short printable line of a text from outside.
func shorten(text string) string {
	return redact.Cut(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, text), maxError)
}
