package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Identity is what the app says about itself in every answer.
type Identity struct {
	Version  string `json:"version"`
	Colour   string `json:"colour"`
	Instance string `json:"instance"`
}

// previewHeader marks a request that asks for one colour; it is not ordinary
// traffic and does not bring a delayed fault nearer.
const previewHeader = "X-Teal-Colour"

// faultHeader marks an answer that an injected fault spoiled, so that a test
// can tell it from a request that got lost.
const faultHeader = "X-Fault"

// App answers requests. Exit is called by the exit fault with the status.
type App struct {
	Exit func(status int)

	id       Identity
	mux      *http.ServeMux
	metrics  *metrics
	sessions sessions

	mu       sync.Mutex
	fault    Fault
	ordinary int64 // ordinary requests answered since the start
	faulty   int64 // requests since the fault began
	draining bool
}

// New makes an app that reports id, lets those log in who know the password, and
// misbehaves as fault says.
func New(id Identity, password string, fault Fault) *App {
	a := &App{id: id, fault: fault, metrics: newMetrics(), sessions: sessions{password: password}, mux: http.NewServeMux(), Exit: func(int) {}}
	a.mux.HandleFunc("GET /{$}", a.identity)
	a.mux.HandleFunc("GET /version", a.identity)
	a.mux.HandleFunc("POST /login", a.sessions.login)
	a.mux.HandleFunc("GET /account", a.sessions.account)
	a.mux.HandleFunc("GET /health", a.health)
	a.mux.HandleFunc("GET /metrics", a.metrics.ServeHTTP)
	a.mux.HandleFunc("POST /fault", a.setFault)
	return a
}

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.isDraining() {
		w.Header().Set("Connection", "close")
	}
	switch r.URL.Path {
	case "/health", "/metrics", "/fault":
		a.mux.ServeHTTP(w, r)
		return
	}
	a.metrics.begin()
	began := time.Now()
	recorder := &status{ResponseWriter: w, code: http.StatusOK}
	a.ordinaryRequest(recorder, r)
	a.metrics.observe(recorder.code, r.Method, time.Since(began))
}

// Drain makes every further answer close its connection.
func (a *App) Drain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining = true
}

func (a *App) isDraining() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.draining
}

func (a *App) ordinaryRequest(w http.ResponseWriter, r *http.Request) {
	fault, hit := a.count(r.Header.Get(previewHeader) == "")
	if hit {
		switch fault.Kind {
		case "errors":
			w.Header().Set(faultHeader, "injected")
			http.Error(w, "injected fault", http.StatusInternalServerError)
			return
		case "slow":
			w.Header().Set(faultHeader, "injected")
			select {
			case <-time.After(fault.Delay):
			case <-r.Context().Done():
				return
			}
		case "exit":
			a.Exit(1)
		}
	}
	a.mux.ServeHTTP(w, r)
}

// count takes note of a request and tells whether the fault hits it.
func (a *App) count(ordinary bool) (Fault, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	begun := a.ordinary >= a.fault.After
	if ordinary {
		a.ordinary++
	}
	if !begun || a.fault.Kind == "none" || a.fault.Kind == "unhealthy" {
		return a.fault, false
	}
	a.faulty++
	return a.fault, a.fault.hits(a.faulty)
}

func (a *App) identity(w http.ResponseWriter, _ *http.Request) {
	answer(w, a.id)
}

func (a *App) health(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	ill := a.draining || a.fault.Kind == "unhealthy" && a.ordinary >= a.fault.After
	a.mu.Unlock()
	if ill {
		http.Error(w, "not healthy", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// setFault replaces the fault by the one in the form: kind, and optionally
// rate and delay. It begins at once.
func (a *App) setFault(w http.ResponseWriter, r *http.Request) {
	text := r.FormValue("kind")
	if rate := r.FormValue("rate"); rate != "" {
		text += ":" + rate
	}
	if text == "" {
		http.Error(w, "kind is missing: expected one of the kinds of fault, or none", http.StatusBadRequest)
		return
	}
	fault, err := ParseFault(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s := r.FormValue("delay"); s != "" {
		if fault.Delay, err = time.ParseDuration(s); err != nil || fault.Delay < 0 {
			http.Error(w, fmt.Sprintf("delay %q: expected a duration such as 500ms", s), http.StatusBadRequest)
			return
		}
	}
	a.mu.Lock()
	a.fault, a.faulty = fault, 0
	a.mu.Unlock()
	fmt.Fprintln(w, fault.Kind)
	if fault.Kind == "exit" {
		_ = http.NewResponseController(w).Flush() // let the caller hear of it first
		a.Exit(1)
	}
}

// status remembers the status code of an answer.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}
