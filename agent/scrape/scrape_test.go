package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

const metric = "http_requests_total"

var metrics = rollback.ScrapeSource{Path: "/metrics"}

const body = "# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} 95\nhttp_requests_total{code=\"500\"} 5\nother 1\n"

// endpoint runs a server and says where it is as an instance.
func endpoint(t *testing.T, handler http.HandlerFunc) deployment.Instance {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return at(t, server.Listener.Addr())
}

func at(t *testing.T, address net.Addr) deployment.Instance {
	t.Helper()
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return deployment.Instance{ID: "api-1", Address: host, Port: n}
}

func plain(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }

// scrape asks one instance.
func scrape(t *testing.T, s *Scraper, source rollback.ScrapeSource, i deployment.Instance) rollback.Scrape {
	t.Helper()
	got := s.Scrape(t.Context(), source, []string{metric}, []deployment.Instance{i})
	if len(got) != 1 || got[0].Instance != i.ID || got[0].At.IsZero() {
		t.Fatalf("got %+v", got)
	}
	if got[0].Err != nil && got[0].Families != nil {
		t.Errorf("both families and an error: %+v", got[0])
	}
	return got[0]
}

func TestScrape(t *testing.T) {
	var asked *http.Request
	i := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		plain(w, r)
	})
	s := New(Config{})
	if s.clients.plain.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy of the agent's environment may come between")
	}
	got := scrape(t, s, rollback.ScrapeSource{Path: "/metrics?format=prometheus"}, i)
	want := "http_requests_total{code=\"200\"} 95\nhttp_requests_total{code=\"500\"} 5"
	if got.Err != nil || families(got.Families) != want {
		t.Errorf("got %v\n%s\nwant\n%s", got.Err, families(got.Families), want)
	}
	if asked.URL.String() != "/metrics?format=prometheus" || !strings.HasPrefix(asked.Header.Get("Accept"), "text/plain") {
		t.Errorf("asked for %s, %v", asked.URL, asked.Header)
	}
}

func TestScrapeOfPackedAnswer(t *testing.T) {
	i := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("gzip is not asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed(body))
	})
	if got := scrape(t, New(Config{}), metrics, i); got.Err != nil || len(got.Families[metric]) != 2 {
		t.Errorf("got %+v", got)
	}
}

func packed(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

// An endpoint that means harm, or is merely broken, gives an error that names
// it, in the time and with the memory that it may take.
func TestScrapeOfHostileEndpoints(t *testing.T) {
	other := endpoint(t, plain)
	const line = "http_requests_total{code=\"200\"} 95\n"
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte("other 1\n")); err != nil {
					return
				}
			}
		}, "too large"},
		{"endless in one line", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte("other")); err != nil {
					return
				}
			}
		}, "line 1 is longer"},
		{"endless comment", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte("#####")); err != nil {
					return
				}
			}
		}, "too large"},
		{"a bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed(strings.Repeat("other 1\n", 1<<20)))
		}, "too large"},
		{"never answers", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no whole answer within 250ms"},
		{"stops within", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(line))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "no whole answer within 250ms"},
		{"breaks off between lines", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(line))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF"},
		{"sends less than announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(line))
		}, "unexpected EOF"},
		{"breaks off what is packed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			whole := packed(line)
			_, _ = w.Write(whole[:len(whole)-4])
		}, "unexpected EOF"},
		{"says it is packed and is not", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			plain(w, r)
		}, "gzip"},
		{"packed in another way", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			plain(w, r)
		}, `answered in encoding "br"`},
		{"not found", http.NotFound, "answered 404, expected 200"},
		{"unavailable, with metrics", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			plain(w, r)
		}, "answered 503, expected 200"},
		{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "answered 204"},
		{"an error page", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>\x1b[2J</html>\n")) }, "line 1: there is no metric's name"},
		{"a page of what is not UTF-8", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("http_requests_total{a=\"" + strings.Repeat("\xff", 10_000) + "\"} 1\n"))
		}, "invalid label value"},
		{"JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write([]byte("{}\n"))
		}, "answered application/json"},
		{"OpenMetrics", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
			plain(w, r)
		}, "answered application/openmetrics-text"},
		{"sends elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+other.HostPort()+"/metrics", http.StatusFound)
		}, "redirected to http://" + other.HostPort() + ", which is not the instance"},
		{"sends in circles", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/metrics", http.StatusFound)
		}, "redirected more than 3 times"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		{"a header without end", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
			plain(w, r)
		}, "header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := endpoint(t, c.handler)
			s := New(Config{Timeout: 250 * time.Millisecond, MaxBody: 1 << 20})
			if strings.Contains(c.want, "large") || strings.Contains(c.want, "longer") {
				s = New(Config{Timeout: time.Minute, MaxBody: 1 << 20}) // the limit is to end it, not the time
			}
			began := time.Now()
			got := scrape(t, s, metrics, i)
			if got.Err == nil || !strings.Contains(got.Err.Error(), c.want) || !strings.Contains(got.Err.Error(), i.HostPort()) {
				t.Errorf("got %v, want %s of %s", got.Err, c.want, i.HostPort())
			} else if text := got.Err.Error(); strings.Count(text, i.HostPort()) != 1 || strings.ContainsAny(text, "\x1b\n") || len(text) > 2*maxError {
				t.Errorf("error %q", text)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// A redirect within the instance is its own affair.
func TestScrapeFollowsTheInstance(t *testing.T) {
	i := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			http.Redirect(w, r, "/metrics/", http.StatusMovedPermanently)
			return
		}
		plain(w, r)
	})
	if got := scrape(t, New(Config{}), metrics, i); got.Err != nil {
		t.Error(got.Err)
	}
}

// Nobody listens there: the error says so, once.
func TestScrapeOfNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := at(t, l.Addr())
	_ = l.Close()
	got := scrape(t, New(Config{}), metrics, i)
	if want := fmt.Sprintf("metrics at http://%s/metrics: dial tcp", i.HostPort()); got.Err == nil || !strings.HasPrefix(got.Err.Error(), want) {
		t.Errorf("got %v, want %s", got.Err, want)
	}
}

// Where an instance's metrics are.
func TestAddress(t *testing.T) {
	i := deployment.Instance{Address: "10.0.0.7", Port: 20001, Meta: map[string]string{"metrics": "9100", "prose": "some port", "zero": "0"}}
	for _, c := range []struct {
		instance   deployment.Instance
		port       string
		want, fail string
	}{
		{i, "", "http://10.0.0.7:20001/metrics", ""},
		{i, "9090", "http://10.0.0.7:9090/metrics", ""},
		{i, "metrics", "http://10.0.0.7:9100/metrics", ""},
		{deployment.Instance{Address: "fd00::7", Port: 80}, "", "http://[fd00::7]:80/metrics", ""},
		{i, "admin", "", `its service has no meta "admin" to tell the metrics port; in the jobspec add meta { admin = "${NOMAD_PORT_admin}" } to the service, or name the port by number`},
		{i, "prose", "", `meta "prose" is "some port", which is no port`},
		{i, "zero", "", `meta "zero" is "0", which is no port`},
		{i, "70000", "", `port is "70000", which is no port`},
		{deployment.Instance{Port: 80}, "", "", "no address and port of it are known to Consul"},
		{deployment.Instance{Address: "10.0.0.7"}, "", "", "no address and port of it are known to Consul"},
	} {
		got, err := address(c.instance, rollback.ScrapeSource{Path: "/metrics", Port: c.port})
		if got != c.want || (err == nil) != (c.fail == "") || err != nil && err.Error() != c.fail {
			t.Errorf("port %q: got %q, %v", c.port, got, err)
		}
		if err == nil {
			if _, err := url.Parse(got); err != nil {
				t.Error(err)
			}
		}
	}
	if got := scrape(t, New(Config{}), rollback.ScrapeSource{Path: "/metrics", Port: "admin"}, i); got.Err == nil || !strings.Contains(got.Err.Error(), `no meta "admin"`) {
		t.Errorf("got %v", got.Err)
	}
}

// Answers come in the order of the instances, and one that fails is no other's
// failure.
func TestScrapeOfMany(t *testing.T) {
	var list []deployment.Instance
	for n := range 40 {
		i := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			if n%3 == 0 {
				http.NotFound(w, r)
				return
			}
			fmt.Fprintf(w, "http_requests_total{code=\"200\"} %d\n", n)
		})
		i.ID = fmt.Sprint("api-", n)
		list = append(list, i)
	}
	got := New(Config{Timeout: 10 * time.Second}).Scrape(t.Context(), metrics, []string{metric}, list)
	if len(got) != len(list) {
		t.Fatalf("%d answers", len(got))
	}
	for n, s := range got {
		switch {
		case s.Instance != list[n].ID:
			t.Errorf("answer %d is %s's", n, s.Instance)
		case n%3 == 0:
			if s.Err == nil {
				t.Errorf("%s: no error", s.Instance)
			}
		case s.Err != nil || s.Families[metric][0].Value != float64(n):
			t.Errorf("%s: %+v", s.Instance, s)
		}
	}
	if got := New(Config{}).Scrape(t.Context(), metrics, []string{metric}, nil); len(got) != 0 {
		t.Errorf("of nobody: %v", got)
	}
}

// held answers nobody until it is let go.
type held struct {
	now atomic.Int64
	let chan struct{}
}

func (h *held) RoundTrip(req *http.Request) (*http.Response, error) {
	h.now.Add(1)
	defer h.now.Add(-1)
	select {
	case <-h.let:
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// Never more than so many are asked at a time, of all services together, and
// as many are. Who has to wait for a turn does not lose time by it.
func TestScrapeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{let: make(chan struct{})}
		s := New(Config{Concurrency: 20, Timeout: time.Minute})
		s.clients.plain.Transport = h
		ask := func(n int) chan []rollback.Scrape {
			got := make(chan []rollback.Scrape, 1)
			list := slices.Repeat([]deployment.Instance{{ID: "a", Address: "10.0.0.7", Port: 80}}, n)
			go func() { got <- s.Scrape(t.Context(), metrics, []string{metric}, list) }()
			synctest.Wait()
			return got
		}
		one := ask(40)
		if n := h.now.Load(); n != perScrape {
			t.Errorf("%d of one service are asked at a time, want %d", n, perScrape)
		}
		another := ask(10)
		if n := h.now.Load(); n != 20 {
			t.Errorf("%d of two services are asked at a time, want 20", n)
		}
		time.Sleep(59 * time.Second)
		close(h.let)
		for _, got := range append(<-one, <-another...) {
			if got.Err != nil {
				t.Error(got.Err)
			}
		}
	})
}

// A watch that ends does not wait for instances that hang.
func TestScrapeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	i := endpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	list := make([]deployment.Instance, 100)
	for n := range list {
		list[n] = i
	}
	for _, got := range New(Config{Timeout: time.Hour}).Scrape(ctx, metrics, []string{metric}, list) {
		if !errors.Is(got.Err, context.Canceled) {
			t.Errorf("got %v", got.Err)
		}
	}
}

// Connections are kept: a scrape a second is not a handshake a second.
func TestScrapeKeepsConnections(t *testing.T) {
	var mu sync.Mutex
	from := map[string]bool{}
	i := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[r.RemoteAddr] = true
		plain(w, r)
	})
	s := New(Config{})
	for range 5 {
		if got := scrape(t, s, metrics, i); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	if len(from) != 1 {
		t.Errorf("%d connections", len(from))
	}
}
