package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// server answers every request with a status and a text.
func server(t *testing.T, code int, text string, header ...string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	return client(t, s.URL, time.Second)
}

func client(t *testing.T, address string, timeout time.Duration) *Client {
	t.Helper()
	c, err := New(Config{API: &api.Config{Address: address}, Timeout: timeout, Wait: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What Consul says, in the words of Consul 1.21, is told apart the same for
// every kind of request, whether the agent asked answers itself or passes on
// what a server says.
func TestKindsOfError(t *testing.T) {
	for _, c := range []struct {
		code int
		text string
		want error
	}{
		{500, "No cluster leader", ErrUnavailable},
		{500, "leadership lost while committing log", ErrUnavailable},
		{500, "node is not the leader", ErrUnavailable},
		{500, "Not ready to serve consistent reads", ErrUnavailable},
		{500, "No known Consul servers", ErrUnavailable},
		{500, "Raft leader not found in server lookup mapping", ErrUnavailable},
		{500, "rpc error making call: EOF", ErrUnavailable},
		{500, "rpc error making call: No cluster leader", ErrUnavailable},
		{500, "rpc error making call: rpc error making call: read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout", ErrUnavailable},
		{500, "rpc error getting client: failed to get conn: dial tcp 127.0.0.1:8300: connect: connection refused", ErrUnavailable},
		{500, "rpc error: lead thread didn't get connection", ErrUnavailable},
		{500, "raft apply failed: raft is already shutdown", ErrUnavailable},
		{429, "RPC rate limit exceeded", ErrUnavailable},
		{503, "", ErrUnavailable},
		{500, `service "api" does not have a subset named "green"`, ErrInvalid},
		{500, `rpc error making call: service "api" does not have a subset named "green"`, ErrInvalid},
		{500, `rpc error making call: rpc error making call: Route[0] PathPrefix doesn't start with '/': "timeout"`, ErrInvalid},
		{500, `service "timeout-EOF" does not have a subset named "shutdown"`, ErrInvalid},
		{400, "Request decoding failed: unexpected EOF", ErrInvalid},
		{403, "Permission denied: token with AccessorID 'x' lacks permission 'key:write' on \"teal/x\"", ErrForbidden},
		{500, "rpc error making call: Permission denied: token with AccessorID 'x' lacks permission 'key:write' on \"teal/x\"", ErrForbidden},
		{403, "ACL not found", ErrForbidden},
	} {
		consul := server(t, c.code, c.text)
		_, get := consul.Read(t.Context(), "teal/x")
		_, txn := consul.Txn(t.Context(), api.KVTxnOps{{Verb: api.KVSet, Key: "teal/x"}})
		_, renew := consul.RenewSession(t.Context(), "s")
		_, entry := consul.SetEntry(t.Context(), &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "api"}, 0)
		for op, err := range map[string]error{"read": get, "renew": renew, "entry": entry, "txn": txn} {
			if op == "txn" && c.code != 500 && c.want != ErrForbidden {
				continue // the api package keeps the text of those, not the status
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %d %s: %v, want %v", op, c.code, c.text, err, c.want)
			}
			if c.text != "" && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s, %d %s: Consul's own words are lost: %v", op, c.code, c.text, err)
			}
			if strings.Contains(c.text, "'key:write'") && !strings.Contains(err.Error(), `key "teal/x" { policy = "write" }`) {
				t.Errorf("%s: the rule is lost: %v", op, err)
			}
		}
	}
}

func TestASessionThatIsGoneIsToldApart(t *testing.T) {
	for _, text := range []string{`invalid session "x"`, `rpc error making call: raft apply failed: invalid session "x"`} {
		_, err := server(t, 500, text).Acquire(t.Context(), "k", nil, "x")
		if !errors.Is(err, ErrNoSession) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := server(t, 404, "Session id 'x' not found").RenewSession(t.Context(), "x"); !errors.Is(err, ErrNoSession) {
		t.Errorf("renewed: %v", err)
	}
	if _, err := server(t, 500, "No cluster leader").RenewSession(t.Context(), "x"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a leader: %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	if err := client(t, s.URL, time.Second).Put(t.Context(), "k", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("refused: %v", err)
	}
	hang := make(chan struct{})
	s = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hang)
	if err := client(t, s.URL, 50*time.Millisecond).Put(t.Context(), "k", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no answer: %v", err)
	}
	// The caller's own end is not Consul's fault.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := client(t, s.URL, time.Minute).Put(ctx, "k", nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
		t.Errorf("given up: %v", err)
	}
	if err := server(t, 200, `""`).Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no leader: %v", err)
	}
}

// What the ACLs left out of an answer is not what is not there.
func TestAFilteredAnswerIsAnError(t *testing.T) {
	consul := server(t, 200, "[]", "X-Consul-Results-Filtered-By-ACLs", "true", "X-Consul-Index", "7", "X-Consul-LastContact", "0", "X-Consul-KnownLeader", "true")
	_, _, list := consul.List(t.Context(), "teal/", 0)
	_, keys := consul.Keys(t.Context(), "teal/")
	_, _, instances := consul.Instances(t.Context(), "api", 0)
	for op, err := range map[string]error{"list": list, "keys": keys, "instances": instances} {
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// What failed is counted by a word for what was asked, never by its object;
// what a caller gave up, or somebody else was faster at, did not fail.
func TestFailuresAreCounted(t *testing.T) {
	counted := func(code int, text string, ask func(context.Context, *Client)) string {
		c := server(t, code, text)
		var got []string
		c.failures = func(operation string) { got = append(got, operation) }
		ask(t.Context(), c)
		return strings.Join(got, " ")
	}
	every := func(ctx context.Context, c *Client) {
		_ = c.Ping(ctx)
		_, _, _ = c.Get(ctx, "teal/leader", 0)
		_, _, _ = c.List(ctx, "teal/", 0)
		_, _ = c.CAS(ctx, "teal/leader", nil, 1)
		_, _ = c.Acquire(ctx, "teal/leader", nil, "s")
		_, _ = c.RenewSession(ctx, "s")
		_, _ = c.Txn(ctx, api.KVTxnOps{{Verb: api.KVSet, Key: "teal/x"}})
		_, _ = c.SetEntry(ctx, &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: "api"}, 1)
		_, _, _ = c.Instances(ctx, "api", 0)
	}
	const all = "ping read list write lock renew transaction write read"
	for _, code := range []int{500, 403, 400} {
		if got := counted(code, "no", every); got != all {
			t.Errorf("%d: counted %q, want %q", code, got, all)
		}
	}
	if got := counted(200, "false", func(ctx context.Context, c *Client) { _, _ = c.CAS(ctx, "teal/leader", nil, 1) }); got != "" {
		t.Errorf("a lost compare-and-set is counted: %q", got)
	}
	gone := func(ctx context.Context, c *Client) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_ = c.Ping(ctx)
	}
	if got := counted(500, "no", gone); got != "" {
		t.Errorf("a request that its caller gave up is counted: %q", got)
	}
}

// A rule is written as it stands in a policy, with an empty name where the
// resource has one.
func TestRulesAreWrittenAsInPolicies(t *testing.T) {
	for rule, want := range map[Rule]string{
		{"key", "teal/leader", "write"}: `key "teal/leader" { policy = "write" }`,
		{"node_prefix", "", "read"}:     `node_prefix "" { policy = "read" }`,
		{"operator", "", "write"}:       `operator = "write"`,
	} {
		if got := rule.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	denied := filtered("read instances", Rule{"node_prefix", "", "read"}, &api.QueryMeta{ResultsFilteredByACLs: true})
	if got := wrap(t.Context(), "read instances", nil, denied).Error(); strings.Count(got, "read instances") != 1 || !strings.Contains(got, `node_prefix "" { policy = "read" }`) {
		t.Error(got)
	}
}
