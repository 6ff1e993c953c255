package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// answering is a client of a Nomad that gives one answer to everything.
func answering(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return client(t, server.URL)
}

func client(t *testing.T, address string) *Client {
	t.Helper()
	c, err := New(&api.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testJob() *api.Job {
	job := api.NewServiceJob("api-green", "api", "global", 50)
	namespace := "shop"
	job.Namespace = &namespace
	return job
}

// TestKinds holds Nomad's answers, as seen from 1.11, against what a caller
// must do about them.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		code  int
		words string
		kind  error
	}{
		{403, "Permission denied", ErrForbidden},
		{500, "rpc error: Permission denied", ErrForbidden},
		{403, "ACL token not found", ErrForbidden},
		{403, "Job registration, dispatch, and scale are disabled by the scheduler configuration", ErrUnavailable},
		{500, "failed to resolve ACL token: acl token lookup failed: index error: UUID must be 36 characters", ErrForbidden},
		{500, "Enforcing job modify index 0: job already exists", ErrConflict},
		{500, "Enforcing job modify index 16: job exists with conflicting job modify index: 28", ErrConflict},
		{500, "1 error occurred:\n\t* job \"exp\" is in nonexistent namespace \"nope\"\n\n", ErrInvalid},
		{500, "No path to region", ErrInvalid},
		{500, "error in job mutator connect: task for Consul Connect Native service web->api is ambiguous and must be set", ErrInvalid},
		{500, `Unexpected response code: 500 (service "edge" has protocol "tcp", which does not match defined listener protocol "http")`, ErrInvalid},
		{400, "Failed to parse job: input.hcl:3,3-7: Unsupported argument", ErrInvalid},
		{404, "job not found", ErrNotFound},
		{429, "slow down", ErrUnavailable},
		{500, "No cluster leader", ErrUnavailable},
		{500, "rpc error: EOF", ErrUnavailable},
		{502, "bad gateway", ErrUnavailable},
		{503, "", ErrUnavailable},
	} {
		nomad := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.code)
			_, _ = w.Write([]byte(c.words))
		})
		_, err := nomad.Register(t.Context(), testJob(), 0, Submission{})
		for _, kind := range []error{ErrForbidden, ErrConflict, ErrNotFound, ErrInvalid, ErrUnavailable} {
			if errors.Is(err, kind) != (kind == c.kind) {
				t.Errorf("%d %q: %v; is it %v? want %v", c.code, c.words, err, kind, c.kind)
			}
		}
		if !strings.Contains(err.Error(), strings.TrimSpace(c.words)) || !strings.Contains(err.Error(), `register job "api-green"`) {
			t.Errorf("%d: %v: want the object and Nomad's own words", c.code, err)
		}
	}
}

func TestForbiddenNamesTheMissingRule(t *testing.T) {
	nomad := answering(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Permission denied", http.StatusForbidden) })
	_, err := nomad.Register(t.Context(), testJob(), 0, Submission{})
	if want := `namespace "shop" { capabilities = ["submit-job"] }`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v: want %s", err, want)
	}
	_, err = nomad.Job(t.Context(), "shop", "api-green")
	if want := `namespace "shop" { capabilities = ["read-job"] }`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v: want %s", err, want)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	if err := client(t, address).Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestNoLeader(t *testing.T) {
	nomad := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`""`)) })
	if err := nomad.Ping(t.Context()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no cluster leader") {
		t.Errorf("%v, want ErrUnavailable for want of a leader", err)
	}
}

func TestACallersOwnCancellationIsNotNomadsFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	nomad := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := nomad.Job(ctx, "", "api")
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want Canceled only", err)
	}
}

func TestWordsAreBounded(t *testing.T) {
	nomad := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("x", 1<<20), 400)
	})
	_, err := nomad.Parse(t.Context(), "job", "")
	if err == nil || len(err.Error()) > maxWords+200 {
		t.Errorf("%d bytes of words", len(err.Error()))
	}
}

func TestUnixSocketAndRotatingToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var token string
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("X-Nomad-Token")
		_, _ = w.Write([]byte(`"127.0.0.1:4647"`))
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	now := "first"
	nomad := client(t, "unix://"+path).WithToken(func() string { return now })
	for _, want := range []string{"first", "second"} {
		now = want
		if err := nomad.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if token != want {
			t.Errorf("token %q, want %q", token, want)
		}
	}
}

func TestRegionsAndNamespacesComeFromTheJob(t *testing.T) {
	var got string
	nomad := answering(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Query().Get("region") + "/" + r.URL.Query().Get("namespace")
		_, _ = w.Write([]byte(`{}`))
	})
	job := testJob()
	if _, err := nomad.Register(t.Context(), job, 0, Submission{}); err != nil || got != "/shop" {
		t.Errorf("asked %q (%v): the parser's global is no region", got, err)
	}
	eu := "eu"
	job.Region = &eu
	if _, err := nomad.Plan(t.Context(), job); err != nil || got != "eu/shop" {
		t.Errorf("asked %q (%v), want eu/shop", got, err)
	}
	if _, err := nomad.In("us").Job(t.Context(), "shop", "api"); err != nil || got != "us/shop" {
		t.Errorf("asked %q (%v), want us/shop", got, err)
	}
}

// What failed is counted by a word for what was asked, never by the job; what
// is not there, or was changed in the meantime, did not fail.
func TestFailuresAreCounted(t *testing.T) {
	counted := func(code int, words string) string {
		var got []string
		nomad := answering(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, words, code) }).
			Counting(func(operation string) { got = append(got, operation) })
		_ = nomad.Ping(t.Context())
		_, _ = nomad.Parse(t.Context(), "job", "")
		_, _ = nomad.Plan(t.Context(), testJob())
		_, _ = nomad.Register(t.Context(), testJob(), 0, Submission{})
		_, _ = nomad.In("eu").Job(t.Context(), "shop", "api")
		_ = nomad.Scale(t.Context(), "shop", "api", map[string]int{"web": 1}, nil)
		_ = nomad.WaitStopped(t.Context(), "shop", "api")
		_ = nomad.Stream(t.Context(), 0, func(Event) {})
		return strings.Join(got, " ")
	}
	const all = "ping parse plan register read read wait stream" // scaling begins by reading
	for _, code := range []int{500, 403} {
		if got := counted(code, "no"); got != all {
			t.Errorf("%d: counted %q, want %q", code, got, all)
		}
	}
	if got := counted(500, "Enforcing job modify index 0: job already exists"); got != "" {
		t.Errorf("a conflict is counted: %q", got)
	}
	if got := counted(404, "job not found"); got != "" {
		t.Errorf("what is not there is counted: %q", got)
	}
}

// A jobspec that names no namespace belongs to the client's, as with `nomad
// job run`; one that names it keeps it, be it the default one.
func TestNamespaceOfAJobspecThatNamesNone(t *testing.T) {
	for _, c := range []struct{ client, written, want string }{
		{"", "", "default"},
		{"team", "", "team"},
		{"team", "default", "default"},
		{"team", "shop", "shop"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var in api.JobsParseRequest
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			job := &api.Job{ID: &in.JobHCL}
			if c.written != "" {
				job.Namespace = &c.written
			}
			if in.Canonicalize {
				job.Canonicalize()
			}
			_ = json.NewEncoder(w).Encode(job)
		}))
		defer server.Close()
		nomad, err := New(&api.Config{Address: server.URL, Namespace: c.client})
		if err != nil {
			t.Fatal(err)
		}
		job, err := nomad.Parse(t.Context(), "api", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := value(job.Namespace); got != c.want || job.Type == nil {
			t.Errorf("client of %q, jobspec of %q: the job is in %q, want %q", c.client, c.written, got, c.want)
		}
	}
}
