package cli

import (
	"context"
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
