package nomad

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhatMayArrive: a stop that was answered by nobody may be carried out yet,
// unless it was never sent: nobody took the connection, or it ended with the look
// at the job.
func TestWhatMayArrive(t *testing.T) {
	job := testJob()
	job.Stop, job.JobModifyIndex = ptr(false), ptr(uint64(7))
	hangUp := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}
	for _, c := range []struct {
		name   string
		nomad  func() *Client
		arrive bool
	}{
		{"the look at the job fails", func() *Client {
			return answering(t, func(w http.ResponseWriter, _ *http.Request) { hangUp(w) })
		}, false},
		{"the write is not answered", func() *Client {
			return answering(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method != http.MethodGet:
					hangUp(w)
				case strings.HasSuffix(r.URL.Path, "/submission"):
					http.Error(w, "not found", http.StatusNotFound)
				default:
					_ = json.NewEncoder(w).Encode(job)
				}
			})
		}, true},
		{"the write is refused", func() *Client {
			return answering(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method != http.MethodGet:
					http.Error(w, "Enforcing job modify index 7: job exists with conflicting job modify index: 9", http.StatusInternalServerError)
				case strings.HasSuffix(r.URL.Path, "/submission"):
					http.Error(w, "not found", http.StatusNotFound)
				default:
					_ = json.NewEncoder(w).Encode(job)
				}
			})
		}, false},
	} {
		err := c.nomad().Stop(t.Context(), "shop", "api-green", false)
		if err == nil || MayArrive(err) != c.arrive || c.arrive && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, may arrive: %t, want %t", c.name, err, MayArrive(err), c.arrive)
		}
	}
	server := httptest.NewServer(nil)
	server.Close()
	if _, err := client(t, server.URL).Register(t.Context(), testJob(), 7, Submission{}); !errors.Is(err, ErrUnavailable) || MayArrive(err) {
		t.Errorf("nobody listens: %v, may arrive: %t", err, MayArrive(err))
	}
}
