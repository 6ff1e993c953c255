package main

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"sync"
)

// maxSessions is how many are remembered; then all have to log in again.
const maxSessions = 1000

// sessions are those who have logged in at this instance: whoever knows the
// password is given a cookie and a token, and both are needed for more. They are
// there for a gate to go through, and no template for a real login.
type sessions struct {
	password string

	mu   sync.Mutex
	open map[string]session // by the cookie's value
}

type session struct{ user, token string }

// login takes a form with user and password.
func (s *sessions) login(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.FormValue("password")), []byte(s.password)) != 1 {
		http.Error(w, "wrong password", http.StatusUnauthorized)
		return
	}
	id, now := rand.Text(), session{user: r.FormValue("user"), token: rand.Text()}
	s.mu.Lock()
	if len(s.open) >= maxSessions || s.open == nil {
		s.open = map[string]session{}
	}
	s.open[id] = now
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	answer(w, map[string]string{"token": now.token})
}

// account says who has logged in.
func (s *sessions) account(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("session")
	if err != nil {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	now, ok := s.open[cookie.Value]
	s.mu.Unlock()
	if !ok || r.Header.Get("Authorization") != "Bearer "+now.token {
		http.Error(w, "not your account", http.StatusForbidden)
		return
	}
	answer(w, map[string]string{"user": now.user})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // fails only when the client has gone
}
