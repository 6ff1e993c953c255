package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// server gives tokens for JWTs, and answers requests that carry a token it knows.
type server struct {
	mu      sync.Mutex
	jwt     string // the one that is taken
	life    time.Duration
	late    int // times that a new token is not known yet
	away    bool
	logins  int
	known   map[string]time.Time // until when
	answers []string             // "token status body", of each request
	open    chan struct{}        // logins wait for it to be closed
	hold    chan struct{}        // and requests for this one
}

func (s *server) LogIn(ctx context.Context, method, jwt string) (Token, error) {
	if s.open != nil {
		select {
		case <-s.open:
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return Token{}, errors.New("away")
	}
	if jwt != s.jwt {
		return Token{}, fmt.Errorf("%s refuses the JWT", method)
	}
	s.logins++
	secret := fmt.Sprintf("s%d", s.logins)
	s.known[secret] = time.Now().Add(365 * 24 * time.Hour)
	if s.life > 0 {
		s.known[secret] = time.Now().Add(s.life)
	}
	return Token{Secret: secret, Accessor: "public-" + secret, Life: s.life}, nil
}

func (s *server) Knows(_ context.Context, secret string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return false, errors.New("away")
	}
	if s.late > 0 {
		s.late--
		return false, nil
	}
	return time.Now().Before(s.known[secret]), nil
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	secret, status := r.Header.Get("X-Token"), http.StatusOK
	if !time.Now().Before(s.known[secret]) || s.late > 0 || r.URL.Path == "/forbidden" {
		status = http.StatusForbidden
	}
	s.answers = append(s.answers, strings.TrimSpace(fmt.Sprintf("%s %d %s", secret, status, body)))
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// bench is a keeper before a server.
type bench struct {
	*testing.T
	*server
	*Keeper
	client  *http.Client
	log     *strings.Builder
	renewed int
}

func setUp(t *testing.T) *bench {
	b := &bench{T: t, server: &server{jwt: "first", known: map[string]time.Time{}}, log: &strings.Builder{}}
	b.Keeper = New(Config{
		Server: b.server, Name: "Consul", Method: "teal", File: filepath.Join(t.TempDir(), "jwt"), Header: "X-Token",
		Renewed: func() { b.renewed++ }, Log: hclog.New(&hclog.LoggerOptions{Output: b.log, DisableTime: true}),
	})
	b.client = &http.Client{Transport: b.Transport(b.server)}
	b.write("first\n")
	return b
}

func (b *bench) write(jwt string) {
	b.Helper()
	if err := os.WriteFile(b.File, []byte(jwt), 0o600); err != nil {
		b.Fatal(err)
	}
}

// asks sends a request with a body.
func (b *bench) asks(path string) error {
	answer, err := b.client.Post("http://server"+path, "text/plain", strings.NewReader("hello"))
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// saw are the requests that the server was sent since it was last asked.
func (b *bench) saw(want ...string) {
	b.Helper()
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if got := strings.Join(b.answers, ", "); got != strings.Join(want, ", ") {
		b.Errorf("sent: %s\nwant: %s", got, strings.Join(want, ", "))
	}
	b.answers = nil
}

func (b *bench) works() {
	b.Helper()
	if err := b.asks("/"); err != nil {
		b.Error(err)
	}
}

// One login serves all requests. A token that nobody knows any more is replaced,
// by what the file says then, and the request sent again: it does not fail.
func TestATokenThatIsGoneIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t)
		b.late = 3
		b.works()
		b.works()
		b.saw("s1 200 hello", "s1 200 hello")
		if b.renewed != 0 || b.logins != 1 {
			t.Errorf("%d logins; the first token renews none, and it is said of %d", b.logins, b.renewed)
		}

		b.forget()
		b.server.jwt = "second"
		b.write("second")
		b.works()
		b.works()
		b.saw("s1 403 hello", "s2 200 hello", "s2 200 hello")
		if b.renewed != 1 || b.LastToken(t.Context()) != "s2" {
			t.Errorf("renewed %d times, last %s", b.renewed, b.LastToken(t.Context()))
		}

		// Many at once are refused: one of them logs in.
		b.forget()
		b.hold = make(chan struct{})
		var all sync.WaitGroup
		for range 20 {
			all.Go(b.works)
		}
		synctest.Wait()
		close(b.hold)
		all.Wait()
		if b.logins != 3 || b.renewed != 2 {
			t.Errorf("%d logins, %d renewals", b.logins, b.renewed)
		}
		b.answers = nil

		// Where there is no other, it is said why, and nothing is sent any more.
		b.forget()
		b.server.jwt = "third"
		for range 3 {
			if err := b.asks("/"); err == nil || !strings.Contains(err.Error(), "teal refuses the JWT") {
				t.Error(err)
			}
			time.Sleep(gap)
		}
		b.saw("s3 403 hello")
		b.write("third")
		b.works()
		if b.renewed != 3 {
			t.Errorf("%d renewals", b.renewed)
		}
		if log := b.log.String(); strings.Contains(log, "s2") && !strings.Contains(log, "public-s2") || strings.Contains(log, "second") {
			t.Errorf("the log holds a secret:\n%s", log)
		}
	})
}

// A token that lacks a rule is no reason to log in.
func TestAMissingRuleIsNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t)
		for range 3 {
			if err := b.asks("/forbidden"); err == nil || !strings.Contains(err.Error(), "403") {
				t.Error(err)
			}
		}
		b.saw("s1 403 hello", "s1 403 hello", "s1 403 hello")
		if b.logins != 1 {
			t.Errorf("%d logins", b.logins)
		}
	})
}

// A token is replaced before it ends, by a new login with what the file says
// then. While that fails the old one is used as long as it is good.
func TestATokenIsRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t)
		b.life = time.Hour
		began := time.Now()
		for time.Since(began) < 24*time.Hour {
			jwt := time.Now().Format(time.TimeOnly)
			b.server.jwt = jwt // an older one is refused
			b.write(jwt)
			b.works()
			time.Sleep(5 * time.Minute)
		}
		if b.logins != 36 || b.renewed != 35 { // every 40 minutes
			t.Errorf("%d logins, %d renewals", b.logins, b.renewed)
		}
		for _, answer := range b.answers {
			if !strings.Contains(answer, " 200 ") {
				t.Fatal(answer)
			}
		}

		b.server.jwt = "another" // and the token has 20 minutes left
		for range 15 {
			b.works()
			if err := b.asks("/forbidden"); err == nil || !strings.Contains(err.Error(), "403") {
				t.Error(err) // that no other token is to be had is not why
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(10 * time.Minute)
		err := b.asks("/")
		if err == nil || !strings.Contains(err.Error(), `log in at Consul's auth method "teal" by `+b.File+": teal refuses the JWT") {
			t.Error(err)
		}
		if n := strings.Count(b.log.String(), "cannot log in"); n != 1 {
			t.Errorf("told %d times:\n%s", n, b.log)
		}
		b.write("another")
		time.Sleep(gap)
		b.works()
	})
}

// What is not there yet is waited for by whoever asks: nothing is sent without
// a token, nobody logs in more often than once a second, and the reason is said.
func TestNoTokenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t)
		says := func(words string) {
			t.Helper()
			if err := b.asks("/"); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%v, want %q", err, words)
			}
		}
		if err := os.Remove(b.File); err != nil {
			t.Fatal(err)
		}
		says("no such file")
		b.write(" \n")
		says("no such file") // it was tried a moment ago
		time.Sleep(gap)
		says("the file is empty")
		b.write("wrong")
		time.Sleep(gap)
		says("teal refuses the JWT")
		b.away = true
		b.write("first")
		time.Sleep(gap)
		says("away")
		b.saw()

		// Whoever gives up waiting spoils nothing for the next.
		b.away, b.open = false, make(chan struct{})
		time.Sleep(gap)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.client.Do(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(b.open)
		b.works()
	})
}

// A server that does not say whether it knows a token is believed its refusal.
func TestARefusalByWhoSaysNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t)
		b.works()
		b.forget()
		b.away = true
		if err := b.asks("/"); err == nil || !strings.Contains(err.Error(), "403") {
			t.Error(err)
		}
		b.away = false
		b.works()
		b.saw("s1 200 hello", "s1 403 hello", "s1 403 hello", "s2 200 hello")
	})
}

// A request's own headers and body are left alone, and one whose body can be
// read but once is not sent again.
func TestARequestIsNotChanged(t *testing.T) {
	b := setUp(t)
	b.works()
	b.forget()
	r, err := http.NewRequest(http.MethodPut, "http://server/", io.NopCloser(strings.NewReader("once")))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.Transport(b.server).RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusForbidden || len(r.Header) != 0 {
		t.Errorf("%v %v, headers %v", answer, err, r.Header)
	}
	b.saw("s1 200 hello", "s1 403 once")
}

// Whoever needed a login gives up while it is under way: the token is kept for the
// next, and known to whoever logs out.
func TestALoginThatNobodyWaitsForIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{jwt: "one", known: map[string]time.Time{}, late: 3}
		path := filepath.Join(t.TempDir(), "jwt")
		if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
			t.Fatal(err)
		}
		k := New(Config{Server: s, Name: "Consul", Method: "teal", File: path, Header: "X-Token", Log: hclog.NewNullLogger()})
		ctx, cancel := context.WithTimeout(t.Context(), look/2) // the token has been given, and is not known yet
		defer cancel()
		if secret, err := k.token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%q, %v", secret, err)
		}
		if last := k.LastToken(t.Context()); last != "s1" {
			t.Errorf("the last token is %q", last)
		}
		if secret, err := k.token(t.Context()); secret != "s1" || err != nil || s.logins != 1 {
			t.Errorf("%q, %v after %d logins", secret, err, s.logins)
		}
	})
}
