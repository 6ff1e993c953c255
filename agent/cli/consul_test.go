package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	consul "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// fakeConsul is as much of Consul KV as the commands use: reads that block,
// transactions and deletes with compare-and-set.
type fakeConsul struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	changed *sync.Cond
	index   uint64
	pairs   map[string]consul.KVPair
	parked  map[string]map[uint64]int // blocking queries that wait, by key and index
	deny    string                    // prefix of keys whose writing is denied
	closed  bool

	// agent is called for every command that is put, as the agent's part.
	agent func(f *fakeConsul, svc string, verb kv.Verb, c kv.Command, index uint64)
	// heeds is called for every approver's key that is put, as the agent's part.
	heeds func(f *fakeConsul, who, svc string, c kv.Consent, index uint64)
	acts  sync.WaitGroup
}

var testKeys = kv.NewKeys("")

func newFakeConsul(t *testing.T) *fakeConsul {
	f := &fakeConsul{t: t, index: 10, pairs: map[string]consul.KVPair{}, parked: map[string]map[uint64]int{}}
	f.changed = sync.NewCond(&f.mu)
	srv := httptest.NewServer(f)
	f.url = srv.URL
	t.Setenv("CONSUL_HTTP_ADDR", srv.URL)
	t.Cleanup(func() {
		f.mu.Lock()
		f.closed = true
		f.changed.Broadcast()
		f.mu.Unlock()
		srv.CloseClientConnections()
		srv.Close()
		f.acts.Wait()
	})
	return f
}

// put writes a key as somebody else would.
func (f *fakeConsul) put(key, value string) uint64 { return f.putHeld(key, value, "") }

func (f *fakeConsul) putHeld(key, value, session string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set(key, value, session)
}

func (f *fakeConsul) set(key, value, session string) uint64 {
	f.index++
	f.pairs[key] = consul.KVPair{Key: key, Value: []byte(value), ModifyIndex: f.index, Session: session}
	f.changed.Broadcast()
	return f.index
}

func (f *fakeConsul) delete(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	delete(f.pairs, key)
	f.changed.Broadcast()
}

func (f *fakeConsul) value(key string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pairs[key]
	return string(p.Value), ok
}

// record saves a service's record.
func (f *fakeConsul) record(s deployment.Service) {
	body, err := json.Marshal(s)
	if err != nil {
		f.t.Error(err)
	}
	f.put(testKeys.State(s.Name), string(body))
}

// lead makes an agent the leader.
func (f *fakeConsul) lead(name string) { f.putHeld(testKeys.Leader(), name, "session-1") }

// watched waits until somebody has seen a key's present value and blocks for
// the next, so that a script's steps are all seen.
func (f *fakeConsul) watched(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed {
		p, exists := f.pairs[key]
		for after, n := range f.parked[key] {
			if n > 0 && (!exists || after >= p.ModifyIndex) {
				return
			}
		}
		f.changed.Wait()
	}
}

// answer takes a command off and writes its result.
func (f *fakeConsul) answer(svc string, verb kv.Verb, r kv.Result) {
	body, err := json.Marshal(r)
	if err != nil {
		f.t.Error(err)
	}
	f.delete(testKeys.Command(svc, verb))
	f.put(testKeys.Result(svc, verb), string(body))
}

func (f *fakeConsul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	key := strings.TrimPrefix(r.URL.Path, "/v1/kv/")
	switch {
	case r.URL.Path == "/v1/txn":
		f.txn(w, r)
	case r.Method == http.MethodGet:
		f.read(w, r, key)
	case r.Method == http.MethodDelete:
		f.mu.Lock()
		cas, _ := strconv.ParseUint(q.Get("cas"), 10, 64)
		done := f.pairs[key].ModifyIndex == cas
		f.mu.Unlock()
		if done {
			f.delete(key)
		}
		fmt.Fprint(w, done)
	default:
		http.Error(w, "unexpected "+r.Method+" "+r.URL.Path, http.StatusTeapot)
	}
}

func (f *fakeConsul) read(w http.ResponseWriter, r *http.Request, key string) {
	q := r.URL.Query()
	_, recurse := q["recurse"]
	_, keysOnly := q["keys"]
	after, _ := strconv.ParseUint(q.Get("index"), 10, 64)

	f.mu.Lock()
	defer f.mu.Unlock()
	find := func() (found []consul.KVPair, last uint64) {
		for k, p := range f.pairs {
			if k == key || ((recurse || keysOnly) && strings.HasPrefix(k, key)) {
				found = append(found, p)
				last = max(last, p.ModifyIndex)
			}
		}
		slices.SortFunc(found, func(a, b consul.KVPair) int { return strings.Compare(a.Key, b.Key) })
		if last == 0 {
			last = f.index
		}
		return found, last
	}
	found, last := find()
	if after > 0 {
		gone := make(chan struct{})
		go func() { // wake the wait when the client leaves
			select {
			case <-r.Context().Done():
				f.mu.Lock()
				f.changed.Broadcast()
				f.mu.Unlock()
			case <-gone:
			}
		}()
		defer close(gone)
		for ; last <= after && r.Context().Err() == nil && !f.closed; found, last = find() {
			if f.parked[key] == nil {
				f.parked[key] = map[uint64]int{}
			}
			f.parked[key][after]++
			f.changed.Broadcast()
			f.changed.Wait()
			f.parked[key][after]--
		}
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(last, 10))
	if len(found) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if keysOnly {
		var names []string
		for _, p := range found {
			rest := strings.TrimPrefix(p.Key, key)
			if i := strings.Index(rest, q.Get("separator")); i >= 0 {
				rest = rest[:i+1]
			}
			if name := key + rest; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		json.NewEncoder(w).Encode(names)
		return
	}
	json.NewEncoder(w).Encode(found)
}

func (f *fakeConsul) txn(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var ops []struct{ KV consul.KVTxnOp }
	if err := json.Unmarshal(body, &ops); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(ops) > 64 {
		http.Error(w, "Transaction contains too many operations (> 64)", http.StatusRequestEntityTooLarge)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	type result struct{ KV *consul.KVPair }
	var out struct {
		Results []result
		Errors  consul.TxnErrors
	}
	for i, op := range ops {
		p, exists := f.pairs[op.KV.Key]
		switch op.KV.Verb {
		case consul.KVGetOrEmpty:
			if !exists {
				p = consul.KVPair{Key: op.KV.Key}
			}
			out.Results = append(out.Results, result{&p})
		case consul.KVCAS:
			switch {
			case f.deny != "" && strings.HasPrefix(op.KV.Key, f.deny):
				out.Errors = append(out.Errors, &consul.TxnError{OpIndex: i, What: "Permission denied: token lacks permission 'key:write'"})
				continue
			case p.ModifyIndex != op.KV.Index:
				out.Errors = append(out.Errors, &consul.TxnError{OpIndex: i, What: fmt.Sprintf("failed to set key %q, index is stale", op.KV.Key)})
				continue
			}
			index := f.set(op.KV.Key, string(op.KV.Value), "")
			out.Results = append(out.Results, result{&consul.KVPair{Key: op.KV.Key, ModifyIndex: index}})
			if who, svc, ok := testKeys.SplitApproval(op.KV.Key); ok {
				c, err := kv.ParseConsent(op.KV.Value)
				if err != nil {
					f.t.Errorf("consent %s: %v", op.KV.Value, err)
				}
				if f.heeds != nil {
					f.acts.Go(func() { f.heeds(f, who, svc, c, index) })
				}
				continue
			}
			svc, verb, ok := testKeys.SplitCommand(op.KV.Key)
			c, err := kv.ParseCommand(op.KV.Value)
			if err != nil {
				f.t.Errorf("command %s: %v", op.KV.Value, err)
			}
			if ok && f.agent != nil {
				f.acts.Go(func() { f.agent(f, svc, verb, c, index) })
			}
		default:
			http.Error(w, "unexpected verb", http.StatusTeapot)
			return
		}
	}
	if len(out.Errors) > 0 {
		w.WriteHeader(http.StatusConflict)
	}
	json.NewEncoder(w).Encode(out)
}

// base is when everything in these tests begins; they look on two minutes
// later, in UTC.
var base = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return base.Add(time.Duration(seconds * float64(time.Second)))
}
