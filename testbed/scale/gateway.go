package scale

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// gateway stands between an agent and a server and counts what goes through.
type gateway struct {
	Address string // host:port

	server *http.Server
	done   chan error

	mu       sync.Mutex
	requests int
	held     map[*http.Request]time.Time // under way, since when
}

// newGateway passes on to a server's HTTP address.
func newGateway(to string) (*gateway, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.FlushInterval = -1 // an event stream is passed on as it comes
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	proxy.ErrorLog = log.New(discard{}, "", 0) // an agent that is ended breaks off its requests
	g := &gateway{Address: listener.Addr().String(), held: map[*http.Request]time.Time{}, done: make(chan error, 1)}
	g.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer g.begin(r)()
		proxy.ServeHTTP(w, r)
	})}
	go func() { g.done <- g.server.Serve(listener) }()
	return g, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (g *gateway) begin(r *http.Request) (end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests++
	g.held[r] = time.Now()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.held, r)
	}
}

// count is how many requests there were so far.
func (g *gateway) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// holds counts the requests that have been waiting for an answer for a while:
// blocking queries and event streams.
func (g *gateway) holds() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, since := range g.held {
		if time.Since(since) > time.Second {
			n++
		}
	}
	return n
}

func (g *gateway) close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is held is held for minutes
	_ = g.server.Shutdown(ctx)
	err := g.server.Close()
	if serve := <-g.done; !errors.Is(serve, http.ErrServerClosed) {
		err = errors.Join(err, serve)
	}
	return err
}
