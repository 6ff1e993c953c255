// Package api is the agent's own HTTP surface: /v1/health for Consul's check,
// /v1/metrics for Prometheus and /v1/status for people's tools. It only reads:
// commands go through Consul KV, whose ACLs decide who may give them.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Limits of one request. A surface that only answers small questions needs no
// more, and a slow or hostile client holds nothing for long.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = time.Minute
	closeTimeout   = 3 * time.Second
	maxHeaderBytes = 16 << 10
	maxConcurrent  = 64
)

// Config is what a Server needs.
type Config struct {
	Address string   // host:port; loopback by default is the settings' business
	Source  Source   // required
	Metrics *Metrics // nil: /v1/metrics answers 404
	Logger  hclog.Logger
}

// Server serves the surface.
type Server struct {
	address string
	source  Source
	logger  hclog.Logger
	handler http.Handler
	slots   chan struct{}
}

// New builds the surface. It opens nothing.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	s := &Server{address: c.Address, source: c.Source, logger: c.Logger.Named("http"), slots: make(chan struct{}, maxConcurrent)}

	mux := http.NewServeMux()
	mux.HandleFunc("/v1/health", s.health)
	if status, ok := c.Source.(StatusSource); ok {
		mux.HandleFunc("/v1/status", s.status(status))
	}
	if c.Metrics != nil {
		mux.Handle("/v1/metrics", c.Metrics.handler())
	}
	mux.HandleFunc("/", s.notFound)
	s.handler = s.limit(mux)
	return s
}

// Handler is the surface without a listener, for tests and for embedding.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen opens the address, so that a taken port is known before the agent
// says that it runs, and so that port 0 can be asked for.
func (s *Server) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for the HTTP surface: %w", s.address, err)
	}
	return l, nil
}

// Run serves on l until ctx ends, then lets requests under way finish.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()

	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := srv.Shutdown(closing)
	if err != nil {
		err = errors.Join(fmt.Errorf("close %s: %w", l.Addr(), err), srv.Close())
	}
	<-served
	return err
}

// limit lets only reading requests through, bounds how long and how many, and
// reads no body.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.refuse(w, r, http.StatusMethodNotAllowed, "this surface only reads; commands are keys in Consul KV, or teal's own commands")
			return
		}
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			s.refuse(w, r, http.StatusServiceUnavailable, "too many requests at once")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, 0)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, http.StatusNotFound, "not found: there are /v1/health, /v1/metrics and /v1/status")
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, why string) {
	s.write(w, r, code, map[string]string{"error": why})
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.logger.Error("cannot write an answer", "path", r.URL.Path, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(append(body, '\n')); err != nil {
		s.logger.Debug("client went away", "path", r.URL.Path, "error", err)
	}
}
