package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// counted is a listener that knows how many of its connections are open.
type counted struct {
	net.Listener
	mu         sync.Mutex
	open, most int
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.most = max(c.most, c.open)
	return &countedConn{Conn: conn, of: c}, nil
}

type countedConn struct {
	net.Conn
	of   *counted
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		c.of.open--
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}

// serve runs a surface for a test.
func serve(t *testing.T, source Source) *counted {
	t.Helper()
	s := New(Config{Address: "127.0.0.1:0", Source: source, Metrics: NewMetrics("1")})
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{Listener: l}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Whoever opens more connections than the surface holds loses the oldest of
// them, silent ones and such as were answered once; nobody else is kept out.
func TestManyConnectionsKeepNobodyOut(t *testing.T) {
	l := serve(t, source{health: Health{Consul: OK}})
	ask := func(conn net.Conn) (int, error) {
		fmt.Fprint(conn, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode, err
	}
	for i := range 3 * maxConnections {
		conn := dial(t, l)
		if i%2 == 0 {
			continue // and never says a word
		}
		if code, err := ask(conn); err != nil || code != http.StatusOK {
			t.Fatalf("connection %d: %d, %v", i, code, err)
		}
	}
	if code, err := ask(dial(t, l)); err != nil || code != http.StatusOK {
		t.Errorf("beside %d connections: %d, %v", 3*maxConnections, code, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > maxConnections+1 { // the one that is too many is open for a moment
		t.Errorf("%d connections were open at once, want %d at the most", l.most, maxConnections)
	}
}

// slow answers when it is told to.
type slow struct{ begun, end chan struct{} }

func (s slow) Health(context.Context) Health {
	close(s.begun)
	<-s.end
	return Health{Consul: OK}
}

// A request that is being answered does not lose its connection to any number
// of others.
func TestWhoIsBeingAnsweredStays(t *testing.T) {
	s := slow{begun: make(chan struct{}), end: make(chan struct{})}
	l := serve(t, s)
	conn := dial(t, l)
	fmt.Fprint(conn, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
	<-s.begun
	var last net.Conn
	for range 2 * maxConnections {
		last = dial(t, l)
	}
	// The last one was let in when it is told that there is no such path.
	fmt.Fprint(last, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, want := range []struct {
		net.Conn
		code int
	}{{last, http.StatusNotFound}, {conn, http.StatusOK}} {
		if want.Conn == conn {
			close(s.end)
		}
		answer, err := http.ReadResponse(bufio.NewReader(want), nil)
		if err != nil || answer.StatusCode != want.code {
			t.Errorf("%+v, %v; want %d", answer, err, want.code)
		}
	}
}

// Whoever asks for much and does not read it keeps nobody else out, neither of
// the same nor of anything else.
func TestSlowReadersKeepNobodyOut(t *testing.T) {
	much := source{health: Health{Consul: OK}}
	for i := range 5000 { // more than the kernel keeps for who does not read
		much.status.Services = append(much.status.Services, Service{Name: fmt.Sprint("service ", i), Error: strings.Repeat("x", 1000)})
	}
	l := serve(t, much)
	var all []net.Conn
	for range maxConnections - 1 {
		conn := dial(t, l)
		fmt.Fprint(conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
		all = append(all, conn)
	}
	for _, conn := range all {
		if _, err := conn.Read(make([]byte, 1)); err != nil { // it is being answered, or refused
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/v1/health", "/v1/metrics", "/v1/status"} {
		conn := dial(t, l)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %+v, %v", path, answer, err)
		}
	}
}

// Paths that lead elsewhere lead nowhere, and what follows a request's body is
// not taken for another request's answer.
func TestOddRequests(t *testing.T) {
	l := serve(t, source{health: Health{Consul: OK}})
	for request, want := range map[string]string{
		"GET /v1/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n":                                                  "301 307 308 400 404",
		"GET /v1/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n":                                                "301 307 308 400 404",
		"GET //evil.example/v1/../ HTTP/1.1\r\nHost: x\r\n\r\n":                                                       "301 307 308 400 404",
		"GET /v1/health%00 HTTP/1.1\r\nHost: x\r\n\r\n":                                                               "404",
		"GET /v1/health/ HTTP/1.1\r\nHost: x\r\n\r\n":                                                                 "404",
		"GET http://evil.example/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n":                                              "404",
		"GET /v1/health HTTP/1.1\r\n\r\n":                                                                             "400", // no host
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n":                                                       "400",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345":                   "400",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n":                 "400 501",
		"GET /v1/health HTTP/1.1\r\nHost : x\r\n\r\n":                                                                 "400",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n":                        "431",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 8<<10) + "\r\n":                         "431",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                                            "400 404 405 505",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\nGET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n": "413",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /v1/x HTTP/1.1\r\nHost: x\r\n": "400 413",
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/x HTTP/1.1\r\nHost: x\r\n":                                    "413",
	} {
		conn := dial(t, l)
		fmt.Fprint(conn, request)
		from := bufio.NewReader(conn)
		answer, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Errorf("%.60q: %v", request, err)
			continue
		}
		text, _ := io.ReadAll(answer.Body)
		if code := fmt.Sprint(answer.StatusCode); !strings.Contains(want, code) {
			t.Errorf("%.60q is answered %s, want %s: %s", request, code, want, text)
		}
		if to := answer.Header.Get("Location"); strings.Contains(to, "//") {
			t.Errorf("%.60q leads to %s", request, to)
		}
		if strings.Contains(want, "413") {
			if rest, err := io.ReadAll(from); len(rest) > 0 || err != nil {
				t.Errorf("%.60q is answered a second time: %v %s", request, err, rest)
			}
		}
	}
}
