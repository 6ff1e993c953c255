package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
)

// facade is the part of Consul's HTTP API that an agent without releases
// uses, over the fake.
type facade struct {
	*httptest.Server
	c *consultest.Client

	mu     sync.Mutex
	tokens map[string]bool // that were seen
}

func newFacade(t *testing.T, s *consultest.Server, node string) *facade {
	f := &facade{c: s.Client(node), tokens: map[string]bool{}}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(w http.ResponseWriter, r *http.Request) (any, error){
		"GET /v1/status/leader": func(_ http.ResponseWriter, r *http.Request) (any, error) {
			return "127.0.0.1:8300", f.c.Ping(r.Context())
		},
		"PUT /v1/agent/service/register": func(_ http.ResponseWriter, r *http.Request) (any, error) {
			var reg consulapi.AgentServiceRegistration
			if err := json.NewDecoder(r.Body).Decode(&reg); err != nil {
				return nil, err
			}
			return nil, f.c.RegisterService(r.Context(), &reg)
		},
		"PUT /v1/agent/service/deregister/{id}": func(_ http.ResponseWriter, r *http.Request) (any, error) {
			return nil, f.c.DeregisterService(r.Context(), r.PathValue("id"))
		},
		"PUT /v1/session/create": f.create,
		"PUT /v1/session/renew/{id}": func(_ http.ResponseWriter, r *http.Request) (any, error) {
			ttl, err := f.c.RenewSession(r.Context(), r.PathValue("id"))
			return []consulapi.SessionEntry{{ID: r.PathValue("id"), TTL: ttl.String()}}, err
		},
		"PUT /v1/session/destroy/{id}": func(_ http.ResponseWriter, r *http.Request) (any, error) {
			return true, f.c.DestroySession(r.Context(), r.PathValue("id"))
		},
		"GET /v1/kv/{key...}": f.read,
		"PUT /v1/kv/{key...}": f.write,
		"PUT /v1/txn":         f.txn,
		"GET /v1/config/{kind}": func(w http.ResponseWriter, r *http.Request) (any, error) {
			entries := []consulapi.ConfigEntry{}
			if r.PathValue("kind") == consulapi.MeshConfig {
				at, err := f.c.EntriesIndex(r.Context())
				return entries, indexed(w, at, err)
			}
			at, err := f.c.EachEntry(r.Context(), r.PathValue("kind"), func(string, uint64) bool { return false },
				func(e consulapi.ConfigEntry) { entries = append(entries, e) })
			return entries, indexed(w, at, err)
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := handle(w, r)
			reply(w, answer, err)
		})
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.tokens[r.Header.Get("X-Consul-Token")] = true
		f.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { f.CloseClientConnections(); f.Close() })
	return f
}

func index(r *http.Request) uint64 {
	n, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	return n
}

func indexed(w http.ResponseWriter, at uint64, err error) error {
	w.Header().Set("X-Consul-Index", fmt.Sprint(at))
	return err
}

func reply(w http.ResponseWriter, answer any, err error) {
	code := http.StatusOK
	switch {
	case errors.Is(err, errMissing), errors.Is(err, consul.ErrNoSession):
		code = http.StatusNotFound
	case errors.Is(err, consul.ErrConflict):
		code = http.StatusConflict
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

var errMissing = errors.New("missing")

func (f *facade) create(_ http.ResponseWriter, r *http.Request) (any, error) {
	var s struct {
		Name, Behavior, TTL string
		NodeChecks          []string
		ServiceChecks       []consulapi.ServiceCheck
	}
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return nil, err
	}
	id, err := f.c.NewSession(r.Context(), &consulapi.SessionEntry{Name: s.Name, Behavior: s.Behavior, TTL: s.TTL,
		NodeChecks: s.NodeChecks, ServiceChecks: s.ServiceChecks})
	return map[string]string{"ID": id}, err
}

func (f *facade) read(w http.ResponseWriter, r *http.Request) (any, error) {
	key := r.PathValue("key")
	switch q := r.URL.Query(); {
	case q.Has("separator"):
		folders, err := f.c.Folders(r.Context(), key)
		return folders, err
	case q.Has("keys"):
		keys, err := f.c.Keys(r.Context(), key)
		return keys, err
	case q.Has("recurse"):
		pairs, at, err := f.c.List(r.Context(), key, index(r))
		if err == nil && len(pairs) == 0 {
			err = errMissing
		}
		return pairs, indexed(w, at, err)
	default:
		pair, at, err := f.c.Get(r.Context(), key, index(r))
		if err == nil && pair == nil {
			err = errMissing
		}
		return consulapi.KVPairs{pair}, indexed(w, at, err)
	}
}

func (f *facade) write(_ http.ResponseWriter, r *http.Request) (any, error) {
	key, q := r.PathValue("key"), r.URL.Query()
	value, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if !q.Has("acquire") {
		return nil, fmt.Errorf("the facade does not know %s", r.URL)
	}
	return f.c.Acquire(r.Context(), key, value, q.Get("acquire"))
}

func (f *facade) txn(_ http.ResponseWriter, r *http.Request) (any, error) {
	var sent consulapi.TxnOps
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		return nil, err
	}
	var ops consulapi.KVTxnOps
	for _, op := range sent {
		ops = append(ops, op.KV)
	}
	pairs, err := f.c.Txn(r.Context(), ops)
	var answer consulapi.TxnResponse
	var failed *consul.OpError
	if errors.As(err, &failed) {
		answer.Errors = consulapi.TxnErrors{{OpIndex: failed.Index, What: failed.What}}
	}
	for _, p := range pairs {
		answer.Results = append(answer.Results, &consulapi.TxnResult{KV: p})
	}
	return answer, err
}

// seen says whether a request carried a token.
func (f *facade) seen(token string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens[token]
}

// nomadStub is a Nomad that is there and has nothing to tell.
func nomadStub(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/event/stream") {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = w.Write([]byte(`"127.0.0.1:4647"`))
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}
