// Package controller drives releases: one loop a service, each event through
// the pure step, saved, then acted upon. It knows Consul, Nomad and routers
// only by the small interfaces below, and everything it does is done inside a
// term of leadership.
//
// Services that are idle cost nothing here: no goroutine, no watch. A loop is
// made when something happens to a service and goes away when it is idle.
package controller

import (
	"context"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/scrape"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/rollback"
)

// Store reads and writes Consul KV; every write is bound to the term.
type Store interface {
	Get(ctx context.Context, key string, index uint64) (*consulapi.KVPair, uint64, error)
	Read(ctx context.Context, key string) (*consulapi.KVPair, error) // as new as anything written before
	List(ctx context.Context, prefix string, index uint64) (consulapi.KVPairs, uint64, error)
	Folders(ctx context.Context, prefix string) ([]string, error)
	GetEach(ctx context.Context, keys []string, see func(*consulapi.KVPair)) error
	Commit(ctx context.Context, fence consul.Fence, ops consulapi.KVTxnOps) (consulapi.KVPairs, error)
	DestroySession(ctx context.Context, id string) error
}

// Catalog tells a service's instances, by blocking query when index is not 0,
// and the entries that route traffic.
type Catalog interface {
	Instances(ctx context.Context, service string, index uint64) ([]deployment.Instance, uint64, error)
	EntriesIndex(ctx context.Context) (uint64, error)
	EachEntry(ctx context.Context, kind string, known func(name string, modified uint64) bool, see func(consulapi.ConfigEntry)) (uint64, error)
}

// Nomad runs the two colours' jobs.
type Nomad interface {
	Parse(ctx context.Context, source, variables string) (*nomadapi.Job, error)
	Plan(ctx context.Context, job *nomadapi.Job) (nomad.Plan, error)
	Register(ctx context.Context, job *nomadapi.Job, enforceIndex uint64, sub nomad.Submission) (nomad.Registration, error)
	Job(ctx context.Context, namespace, id string) (*nomadapi.Job, error)
	WatchJob(ctx context.Context, namespace, id string, see func(nomad.JobStatus) (done bool)) error
	StopIf(ctx context.Context, namespace, id string, guard nomad.Guard) error
	WaitStopped(ctx context.Context, namespace, id string) error
	Scale(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error
	Raise(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error
	Submission(ctx context.Context, namespace, id string) (nomad.Submission, error)
	Stream(ctx context.Context, index uint64, see func(nomad.Event)) error

	Dispatch(ctx context.Context, namespace, parent, token string, meta map[string]string) (id string, err error)
	Dispatched(ctx context.Context, namespace, parent, token string) (*nomadapi.Job, error)
	Ends(ctx context.Context, namespace, id string) ([]nomad.TaskEnd, error)
	LogTail(ctx context.Context, namespace, alloc, task, stream string, most int) (string, error)
}

// Scraper reads instances' metrics endpoints.
type Scraper interface {
	Scrape(ctx context.Context, source rollback.ScrapeSource, families []string, instances []deployment.Instance) []rollback.Scrape
}

// Meter is told what happened, for /v1/metrics.
type Meter interface {
	Ended(deployment.Outcome)
	Cutover(deployment.Move)
	Rollback(deployment.Move)
	Command(verb kv.Verb, accepted bool)
	Services(all, held, paused int)
	Deployments(inFlight map[deployment.State]int)
}

// Chronicle is handed everything that was saved. It must not block.
type Chronicle interface {
	Saved(after deployment.Service, ev deployment.Event, epoch uint64)
}

// Teller sees to it that people are told of what was saved. None of this may
// block or fail a release.
type Teller interface {
	// Owed are the writes that go with a save, so that whoever leads then knows
	// that something is to be told; Saved says that they were made.
	Owed(before, after deployment.Service, ev deployment.Event) consulapi.KVTxnOps
	Saved(ops consulapi.KVTxnOps)
	// Term makes what tells during a term.
	Term(fence consul.Fence) (run func(ctx context.Context) error)
}

// Config is what a controller needs. Everything is required but Chronicle and
// Teller.
type Config struct {
	Name    string // of this agent, for records and messages
	Keys    kv.Keys
	Store   Store
	Catalog Catalog
	Nomad   func(region string) Nomad // empty: the agent's own
	Routers map[string]traffic.Router // by kind
	Scraper Scraper
	// Ask puts a query to a metrics service, about a moment; zero is now.
	Ask         func(ctx context.Context, q measure.Query, at time.Time) ([]measure.Value, error)
	Meter       Meter
	Chronicle   Chronicle
	Teller      Teller
	Log         hclog.Logger
	HistoryKeep int  // finished records kept a service
	MayExec     bool // gates may run commands on this machine
}

// Controller holds what outlives a term: the policies.
type Controller struct {
	cfg Config

	mu       sync.Mutex
	policies *policy.Set
	tenure   *tenure // the present term's work, nil while standing by
}

// New wires a controller. It does no I/O and starts nothing.
func New(cfg Config) *Controller {
	return &Controller{cfg: cfg, policies: policy.Empty()}
}

// SetPolicies replaces the policies. Services whose policy or jobspec text
// changed are looked at, if this agent leads.
func (c *Controller) SetPolicies(set *policy.Set) {
	c.mu.Lock()
	defer c.mu.Unlock() // whoever sees a new policy has been told of the edit
	old := c.policies
	c.policies = set
	if c.tenure != nil {
		c.tenure.policiesEdited(old, set)
	}
}

// policy is the service's policy on this agent, or nil.
func (c *Controller) policy(service string) *policy.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policies.Policy(service)
}

var (
	_ Catalog = (*consul.Client)(nil)
	_ Nomad   = (*nomad.Client)(nil)
	_ Scraper = (*scrape.Scraper)(nil)
)
