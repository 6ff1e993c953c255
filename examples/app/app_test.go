package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func get(a *App, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

func post(a *App, form url.Values) *httptest.ResponseRecorder { return postTo(a, "/fault", form) }

func postTo(a *App, path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

func mustFault(t *testing.T, s string) Fault {
	t.Helper()
	f, err := ParseFault(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestIdentityIsInEveryAnswer(t *testing.T) {
	want := Identity{Version: "1.2", Colour: "green", Instance: "i-1"}
	a := New(want, "teapot", mustFault(t, ""))
	for _, path := range []string{"/", "/version"} {
		w := get(a, path)
		var got Identity
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got != want || w.Code != http.StatusOK {
			t.Errorf("GET %s: %d %+v %v, want %+v", path, w.Code, got, err, want)
		}
	}
	if w := get(a, "/nowhere"); w.Code != http.StatusNotFound {
		t.Errorf("GET /nowhere: %d", w.Code)
	}
}

func TestParseFault(t *testing.T) {
	for in, want := range map[string]string{
		"": "none 1", "errors": "errors 1", "errors:0.3": "errors 0.3", "slow:1": "slow 1", "unhealthy": "unhealthy 1",
	} {
		f := mustFault(t, in)
		if got := fmt.Sprint(f.Kind, " ", f.Rate); got != want {
			t.Errorf("ParseFault(%q) = %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"eror", "errors:", "errors:0", "errors:1.1", "errors:NaN", "errors:x", ":0.3"} {
		if f, err := ParseFault(in); err == nil {
			t.Errorf("ParseFault(%q) = %+v, want an error", in, f)
		}
	}
}

func TestErrorsHitTheirShareAndAreMarked(t *testing.T) {
	a := New(Identity{}, "teapot", mustFault(t, "errors:0.3"))
	var failed int
	for range 100 {
		w := get(a, "/")
		if w.Code == http.StatusInternalServerError {
			failed++
			if w.Header().Get("x-fault") != "injected" {
				t.Fatal("an injected error is not marked")
			}
		}
	}
	if failed != 30 {
		t.Errorf("%d of 100 requests failed, want 30", failed)
	}
}

func TestFaultWaitsForOrdinaryRequests(t *testing.T) {
	fault := mustFault(t, "errors")
	fault.After = 3
	a := New(Identity{}, "teapot", fault)
	for range 50 { // what a gate asks does not bring the fault nearer
		get(a, "/health")
		get(a, "/metrics")
		if w := get(a, "/", "x-teal-colour", "green"); w.Code != http.StatusOK {
			t.Fatalf("preview request: %d", w.Code)
		}
	}
	for i := range 3 {
		if w := get(a, "/"); w.Code != http.StatusOK {
			t.Fatalf("request %d: %d, want 200 still", i+1, w.Code)
		}
	}
	if w := get(a, "/"); w.Code != http.StatusInternalServerError {
		t.Errorf("request 4: %d, want 500", w.Code)
	}
	if w := get(a, "/health"); w.Code != http.StatusOK {
		t.Errorf("health with errors: %d, want 200", w.Code)
	}
}

func TestFaultIsSwitchedWhileRunning(t *testing.T) {
	a := New(Identity{}, "teapot", mustFault(t, ""))
	status := -1
	a.Exit = func(code int) { status = code }

	if w := post(a, url.Values{"kind": {"unhealthy"}}); w.Code != http.StatusOK {
		t.Fatalf("POST /fault: %d %s", w.Code, w.Body)
	}
	if w := get(a, "/health"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("health: %d, want 503", w.Code)
	}
	if w := get(a, "/"); w.Code != http.StatusOK {
		t.Errorf("an unhealthy app serves: %d, want 200", w.Code)
	}
	post(a, url.Values{"kind": {"slow"}, "delay": {"30ms"}})
	began := time.Now()
	if w := get(a, "/"); w.Code != http.StatusOK || time.Since(began) < 30*time.Millisecond {
		t.Errorf("slow: %d after %s", w.Code, time.Since(began))
	}
	post(a, url.Values{"kind": {"none"}})
	if w := get(a, "/health"); w.Code != http.StatusOK {
		t.Errorf("health after none: %d, want 200", w.Code)
	}
	post(a, url.Values{"kind": {"exit"}})
	if status != 1 {
		t.Errorf("exit fault: status %d, want 1", status)
	}
	for _, bad := range []url.Values{{}, {"kind": {"eror"}}, {"kind": {"errors"}, "rate": {"2"}}, {"kind": {"slow"}, "delay": {"soon"}}} {
		if w := post(a, bad); w.Code != http.StatusBadRequest {
			t.Errorf("POST /fault %v: %d, want 400", bad, w.Code)
		}
	}
}

// An account is for whoever has both the cookie and the token of one login.
func TestLogin(t *testing.T) {
	a := New(Identity{}, "teapot", mustFault(t, ""))
	if w := postTo(a, "/login", url.Values{"user": {"smoke"}, "password": {"kettle"}}); w.Code != http.StatusUnauthorized || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a wrong password: %d %v", w.Code, w.Header())
	}
	login := func(user string) (cookie, token string) {
		w := postTo(a, "/login", url.Values{"user": {user}, "password": {"teapot"}})
		var given struct{ Token string }
		if err := json.Unmarshal(w.Body.Bytes(), &given); err != nil || w.Code != http.StatusOK || given.Token == "" {
			t.Fatalf("login: %d %s %v", w.Code, w.Body, err)
		}
		cookie, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
		return cookie, "Bearer " + given.Token
	}
	cookie, token := login("smoke")
	_, other := login("other")
	for name, c := range map[string]struct {
		header []string
		status int
		body   string
	}{
		"both":                  {[]string{"Cookie", cookie, "Authorization", token}, http.StatusOK, `{"user":"smoke"}`},
		"no cookie":             {[]string{"Authorization", token}, http.StatusUnauthorized, "not logged in"},
		"no token":              {[]string{"Cookie", cookie}, http.StatusForbidden, "not your account"},
		"somebody else's":       {[]string{"Cookie", cookie, "Authorization", other}, http.StatusForbidden, "not your account"},
		"a cookie of one's own": {[]string{"Cookie", "session=x", "Authorization", "Bearer "}, http.StatusForbidden, "not your account"},
	} {
		if w := get(a, "/account", c.header...); w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, c.status, c.body)
		}
	}
	for range maxSessions {
		login("many")
	}
	if n := len(a.sessions.open); n > maxSessions {
		t.Errorf("%d sessions are remembered", n)
	}
}

func TestMetrics(t *testing.T) {
	a := New(Identity{}, "teapot", mustFault(t, "errors:0.5"))
	for range 10 {
		get(a, "/")
	}
	get(a, "/health")
	body := get(a, "/metrics").Body.String()
	for _, line := range []string{
		`http_requests_total{code="200",method="GET"} 5`,
		`http_requests_total{code="500",method="GET"} 5`,
		`http_request_duration_seconds_bucket{le="+Inf"} 10`,
		`http_request_duration_seconds_count 10`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("metrics have no line %s:\n%s", line, body)
		}
	}
}

func TestMistypedSettingsStopTheApp(t *testing.T) {
	for name, value := range map[string]string{"FAULT": "eror", "FAULT_AFTER_REQUESTS": "many", "FAULT_DELAY": "soon"} {
		env := func(key string) string { return map[string]string{name: value}[key] }
		err := run(t.Context(), []string{"-listen", "127.0.0.1:0"}, env, io.Discard)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v, want an error naming it", name, value, err)
		}
	}
}

// A request in flight when the app is told to stop gets its answer.
func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	env := map[string]string{"FAULT": "slow", "FAULT_DELAY": "200ms", "ENVIRONMENT_NAME": "blue", "APP_VERSION": "7"}
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-listen", "127.0.0.1:0"}, func(k string) string { return env[k] }, in)
	}()
	var colour, version, id, address string
	if _, err := fmt.Fscanf(out, "%s %s %s listening on %s\n", &colour, &version, &id, &address); err != nil {
		t.Fatal(err)
	}
	if colour != "blue" || version != "7" {
		t.Errorf("banner says %s %s", colour, version)
	}
	answered := make(chan error, 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			defer response.Body.Close()
			_, err = io.ReadAll(response.Body)
		}
		answered <- err
	}()
	for !strings.Contains(body(t, "http://"+address+"/metrics"), "http_requests_in_flight 1\n") {
		if t.Context().Err() != nil {
			t.Fatal("the request never arrived")
		}
	}
	stop()
	if err := <-answered; err != nil {
		t.Errorf("request in flight: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

func body(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
