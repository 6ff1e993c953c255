// Package nomadtest is an in-memory Nomad for tests: jobs with their versions
// and indexes, allocations, deployments, placement by memory, the event
// stream, and faults on demand. It opens no socket and uses no clock but
// package time, so it works under testing/synctest; create it inside the
// bubble.
//
// Contract is the suite that the fake and a real Nomad must both pass. What
// the fake does not have: HCL (see AddSource), ACLs, regions, constraints,
// rescheduling of failed allocations, canaries, and rolling updates: a
// changed job replaces all its allocations at once.
package nomadtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deep"
	"github.com/tealdeploy/teal/agent/nomad"
)

// Server is a fake Nomad. Its zero value is not usable: call New.
type Server struct {
	mu      sync.Mutex
	index   uint64
	changed chan struct{} // closed at every change

	jobs    map[name]*stored
	allocs  []*allocation // of all jobs, oldest first
	events  []nomad.Event
	sources map[string]string
	ids     int // allocations and evaluations so far

	memory    int // MB there is room for
	behave    func(Launch) Behaviour
	listen    func(Change)
	pending   []Change
	telling   sync.Mutex
	away      bool
	cut       map[string]bool
	silenced  int // how often whoever watched then has heard nothing more
	intercept func(Call) Fault
	observe   func(Write)
	writing   *Write // the request that is carried out; nil: nobody's
}

// name is a job's place.
type name struct{ namespace, id string }

func named(namespace, id string) name {
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	return name{namespace, id}
}

// stored is a job with its history.
type stored struct {
	job     *api.Job
	history []*api.Job // newest first
	sources map[uint64]nomad.Submission
	rollout *api.Deployment
	blocked *api.Evaluation
	since   uint64      // the index of rollout and blocked
	past    []scheduled // what they were before, oldest first
}

// Launch is an allocation that is about to start.
type Launch struct {
	Job   *api.Job
	Group string
	Alloc string
}

// Behaviour is what becomes of it. The zero value is healthy at once.
type Behaviour struct {
	After time.Duration // until it is healthy, or fails
	Fail  string        // the event of its failure, in Nomad's words
	Stop  time.Duration // how long it takes to end when told to
	End   *Ending       // of a batch job; nil: it runs for ever
}

// Change tells that an allocation runs, or no longer does.
type Change struct {
	Job     *api.Job // the version the allocation belongs to
	Group   string
	Alloc   string
	Running bool
}

// New starts an empty Nomad with room for everything.
func New() *Server {
	return &Server{
		index:   10,
		changed: make(chan struct{}),
		jobs:    map[name]*stored{},
		sources: map[string]string{contractSource: contractJob},
		memory:  1 << 20,
		cut:     map[string]bool{},
	}
}

// Client is how one agent reaches the server; it has the method set of
// nomad.Client.
func (s *Server) Client(agent string) *Client { return &Client{s: s, agent: agent} }

// Client is one agent's handle on the fake.
type Client struct {
	s     *Server
	agent string
}

// SetMemory sets the room there is, in MB; what runs stays.
func (s *Server) SetMemory(mb int) {
	s.change(func() { s.memory = mb })
}

// SetBehaviour says what becomes of allocations that start from now on; nil
// makes them healthy at once. f is called with the server locked.
func (s *Server) SetBehaviour(f func(Launch) Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behave = f
}

// Listen has f told, one after another and without locks held, when
// allocations begin and cease to run, so that a test can make a service's
// instances appear. The request that caused it returns after f.
func (s *Server) Listen(f func(Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listen = f
}

// SetAway makes Nomad refuse everything, or answer again. What runs runs on.
func (s *Server) SetAway(away bool) { s.change(func() { s.away = away }) }

// Cut parts an agent from Nomad: its requests run into their timeouts. Heal
// ends that.
func (s *Server) Cut(agent string) { s.change(func() { s.cut[agent] = true }) }

// Heal is the end of Cut.
func (s *Server) Heal(agent string) { s.change(func() { s.cut[agent] = false }) }

// Edit is a person who changes a job by hand, past any agent. edit gets a
// copy; it may set Stop. The job must exist.
func (s *Server) Edit(namespace, id string, edit func(*api.Job)) error {
	var err error
	s.change(func() {
		at := s.jobs[named(namespace, id)]
		if at == nil {
			err = fmt.Errorf("edit job %q: there is none", id)
			return
		}
		job := clone(at.job)
		edit(job)
		s.put(job, nomad.Submission{})
	})
	return err
}

// Fail ends n running allocations of a job in failure, oldest first, with
// event as its reason. They are not replaced.
func (s *Server) Fail(namespace, id string, n int, event string) {
	s.change(func() {
		for _, a := range s.allocs {
			if n > 0 && a.of == named(namespace, id) && a.stub.ClientStatus == api.AllocClientStatusRunning {
				s.fail(a, event)
				n--
			}
		}
	})
}

// change does something under the lock, wakes whoever waits and tells the
// listener.
func (s *Server) change(f func()) {
	s.mu.Lock()
	f()
	s.wake()
	s.mu.Unlock()
	s.tell()
}

func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) tell() {
	s.telling.Lock()
	defer s.telling.Unlock()
	for {
		s.mu.Lock()
		if len(s.pending) == 0 {
			s.mu.Unlock()
			return
		}
		next, listen := s.pending[0], s.listen
		s.pending = s.pending[1:]
		s.mu.Unlock()
		if listen != nil {
			listen(next)
		}
	}
}

// Jobs lists the IDs of the jobs that are not stopped, sorted.
func (s *Server) Jobs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for n, at := range s.jobs {
		if !value(at.job.Stop) {
			ids = append(ids, n.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// received is a job as it arrives: what JSON makes of it.
func received(job *api.Job) *api.Job {
	out := new(api.Job)
	if err := json.Unmarshal([]byte(text(job)), out); err != nil {
		panic(err) // a job that came from JSON
	}
	return out
}

func clone(job *api.Job) *api.Job { return deep.Copy(job) }

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
