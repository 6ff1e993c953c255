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
	maxConcurrent  = 64                // that wait for the same answer
	maxConnections = 2 * maxConcurrent // open, busy or not
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
}

// New builds the surface. It opens nothing.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	s := &Server{address: c.Address, source: c.Source, logger: c.Logger.Named("http")}

	mux := http.NewServeMux()
	mux.HandleFunc("/v1/health", s.once(s.health))
	if status, ok := c.Source.(StatusSource); ok {
		mux.HandleFunc("/v1/status", s.once(s.status(status)))
	}
	if c.Metrics != nil {
		metrics := c.Metrics.handler() // which bounds how many ask by itself
		mux.HandleFunc("/v1/metrics", func(w http.ResponseWriter, r *http.Request) {
			defer attend(r)()
			metrics.ServeHTTP(w, r)
		})
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
		ConnContext:       withGuest,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(newCrowd(l, maxConnections)) }()

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

// limit lets only reading requests without a body through, and bounds how long
// they take.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.ContentLength != 0 { // where it ends nobody here and before us need agree about
			w.Header().Set("Connection", "close")
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.refuse(w, r, http.StatusMethodNotAllowed, "this surface only reads; commands are keys in Consul KV, or teal's own commands")
			return
		}
		if r.ContentLength != 0 {
			s.refuse(w, r, http.StatusRequestEntityTooLarge, "this surface takes no body")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, http.StatusNotFound, "not found: there are /v1/health, /v1/metrics and /v1/status")
}

// once answers all who ask at a time by one answer. Whoever is slow to read it
// takes no place of those who wait for another, nor keeps his own for sure.
func (s *Server) once(compute func(context.Context) answer) http.HandlerFunc {
	all, places := newTogether(compute), make(chan struct{}, maxConcurrent)
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
		default:
			s.refuse(w, r, http.StatusServiceUnavailable, "too many requests at once")
			return
		}
		leave := attend(r)
		got, ok := all.get(r.Context())
		leave()
		<-places
		if !ok {
			s.refuse(w, r, http.StatusServiceUnavailable, "no answer in time")
			return
		}
		s.write(w, r, got)
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, why string) {
	s.write(w, r, s.answer(code, map[string]string{"error": why}))
}

func (s *Server) answer(code int, v any) answer {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		s.logger.Error("cannot make an answer", "error", err)
		return answer{http.StatusInternalServerError, []byte(`{"error": "internal error"}`)}
	}
	return answer{code, append(body, '\n')}
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.code)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(a.body); err != nil {
		s.logger.Debug("client went away", "path", r.URL.Path, "error", err)
	}
}
