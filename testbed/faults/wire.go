package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// Moment is when something may be done to a write.
type Moment string

// A write that an agent sends is seen twice: before the server has it, and
// when the server has answered and the agent has not heard of it.
const (
	Before Moment = "before"
	After  Moment = "after"
)

// Hook is told of each write at both moments. It may take its time. The write,
// or its answer, goes on its way when it returns true and is lost otherwise.
type Hook func(w *Write, m Moment) bool

// Wire is the way between one agent and one server: it sees every request and
// knows which of them write. It can be cut, as by a network that drops packets.
type Wire struct {
	Address string // host:port where the agent finds the server

	name   string // of the server
	server *http.Server
	done   chan error

	mu   sync.Mutex
	hook Hook
	open chan struct{} // closed while packets get through
}

// NewWire listens, and forwards to a server at host:port.
func NewWire(name, to string) (*Wire, error) {
	listener, err := loopback()
	if err != nil {
		return nil, err
	}
	return newWireAt(listener, name, to), nil
}

func loopback() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// newWireAt forwards what comes to a listener, which it closes in the end.
func newWireAt(listener net.Listener, name, to string) *Wire {
	w := &Wire{Address: listener.Addr().String(), name: name, done: make(chan error, 1), open: make(chan struct{})}
	close(w.open)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.FlushInterval = -1 // Nomad's events come one by one
	proxy.Transport = w.through(&http.Transport{MaxIdleConnsPerHost: 64})
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {
		panic(http.ErrAbortHandler) // to the agent the connection breaks, as without us
	}
	w.server = &http.Server{Handler: proxy, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { w.done <- w.server.Serve(lossy{listener, w}) }()
	return w
}

// Close ends the wire and every connection on it.
func (w *Wire) Close() error {
	w.Restore()
	err := w.server.Close()
	if served := <-w.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Watch has every write told to hook from now on; nil ends that.
func (w *Wire) Watch(hook Hook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

func (w *Wire) told(write *Write, m Moment) bool {
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	return hook == nil || hook(write, m)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var errLost = errors.New("lost on the wire")

func (w *Wire) through(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		var body []byte
		if r.Body != nil {
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		write, ok := writeOf(w.name, r.Method, r.URL, body)
		if !ok {
			return next.RoundTrip(r)
		}
		if !w.told(&write, Before) {
			return nil, errLost
		}
		// What is on its way arrives, whatever becomes of its sender.
		response, err := next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
		if err != nil {
			return nil, err
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("answer to %s: %w", write.Name, err)
		}
		write.Status = response.StatusCode
		if !w.told(&write, After) {
			return nil, errLost
		}
		response.Body = io.NopCloser(bytes.NewReader(answer))
		return response, nil
	})
}

// Cut lets nothing through in either direction, until Restore. Connections
// stay open and new ones are taken: neither side is told.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
		w.open = make(chan struct{})
	default: // it is cut
	}
}

// Restore lets everything through that was held up.
func (w *Wire) Restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
	default:
		close(w.open)
	}
}

func (w *Wire) passable() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// lossy gives connections that hold still while the wire is cut.
type lossy struct {
	net.Listener
	wire *Wire
}

func (l lossy) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &still{Conn: conn, wire: l.wire, closed: make(chan struct{})}, nil
}

type still struct {
	net.Conn
	wire   *Wire
	once   sync.Once
	closed chan struct{}
}

func (c *still) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if held := c.hold(); held != nil {
		return 0, held
	}
	return n, err
}

func (c *still) Write(p []byte) (int, error) {
	if err := c.hold(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *still) hold() error {
	select {
	case <-c.wire.passable():
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

func (c *still) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
