package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// A worker runs for longer than its token may be good for: the file is read
// again at every request, and need not be there when the worker starts.
func TestWorkReadsItsTokenFileAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	var mu sync.Mutex
	var seen []string
	var stop context.CancelFunc
	renew := func(token string) {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Error(err)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token := r.Header.Get("X-Consul-Token")
		if !slices.Contains(seen, token) {
			seen = append(seen, token)
		}
		switch token {
		case "":
			renew("one\n")
		case "one":
			renew("two\n")
		case "two":
			stop()
		}
		http.Error(w, "No cluster leader", http.StatusInternalServerError)
	}))
	defer srv.Close()
	for name, args := range map[string][]string{"by flag": {"-token-file", path}, "by environment": nil} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CONSUL_HTTP_ADDR", srv.URL)
			t.Setenv("CONSUL_HTTP_TOKEN_FILE", map[bool]string{true: path}[args == nil])
			_ = os.Remove(path)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			mu.Lock()
			seen, stop = nil, cancel
			mu.Unlock()
			tealIn(t, ctx, nil, slices.Concat([]string{"work"}, args, []string{"-service", "api", "-colour", "blue", "--", "true"})...)
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(seen, []string{"", "one", "two"}) {
				t.Errorf("tokens %q", seen)
			}
		})
	}
}

// Or it logs in, with whatever identity is in the file by then, when its token is
// not known any more; a token of the environment counts for nothing. At its end it
// gives its last token back.
func TestWorkLogsIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwt")
	identity := func(jwt string) {
		if err := os.WriteFile(path, []byte(jwt), 0o600); err != nil {
			t.Error(err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	var mu sync.Mutex
	var saw []string
	known := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token := r.Header.Get("X-Consul-Token")
		switch r.URL.Path {
		case "/v1/acl/login":
			var shown struct{ AuthMethod, BearerToken string }
			_ = json.NewDecoder(r.Body).Decode(&shown)
			saw = append(saw, fmt.Sprintf("%s shown to %s by %q", shown.BearerToken, shown.AuthMethod, token))
			known = "token of " + shown.BearerToken
			_ = json.NewEncoder(w).Encode(map[string]any{"SecretID": known})
		case "/v1/acl/logout":
			saw = append(saw, "given back: "+token)
		case "/v1/acl/token/self":
			if token != known {
				http.Error(w, "ACL not found", http.StatusForbidden)
				return
			}
			_, _ = w.Write([]byte("{}"))
		default: // what the worker is there for
			switch token {
			case "token of one": // somebody deletes it, and Nomad has renewed the identity
				known = ""
				identity("two")
				http.Error(w, "ACL not found", http.StatusForbidden)
			case "token of two":
				stop()
				http.Error(w, "No cluster leader", http.StatusInternalServerError)
			default:
				t.Errorf("asked with %q", token)
			}
		}
	}))
	defer srv.Close()
	t.Setenv("CONSUL_HTTP_ADDR", srv.URL)
	t.Setenv("CONSUL_HTTP_TOKEN", "of the environment")
	identity("one")
	tealIn(t, ctx, nil, "work", "-auth-method", "workers", "-jwt-file", path, "-service", "api", "-colour", "blue", "--", "true")
	mu.Lock()
	defer mu.Unlock()
	want := []string{`one shown to workers by ""`, `two shown to workers by ""`, "given back: token of two"}
	if !slices.Equal(saw, want) {
		t.Errorf("saw %q\nwant %q", saw, want)
	}
}
