package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/jobspec"
)

// witness holds what happens in a world against the design's invariants, all
// the time and from outside: by every change of a key, by every entry that
// leads traffic, and by every job that an agent is about to write. It knows
// nothing of how the controller works. What it saw last is its history, for
// whoever has to understand a break.
type witness struct {
	w *world

	mu      sync.Mutex
	records []writtenRecord
	// planted are records that a test wrote itself: they may be anything.
	planted  map[string]bool
	owner    deployment.Colour            // of the jobs
	given    map[string]uint64            // command key → index of what stands there
	taken    map[string]uint64            // command key → index of what was last deleted
	answers  map[string]map[uint64]string // command key → index → result
	forces   map[string]bool              // command key → it was last given with force
	insisted time.Time                    // when such a command was last accepted
	// approvals are the approvers' keys that there are: approver → index.
	approvals map[string]uint64
	routed    deployment.Colour
	broken    int
	history   []string

	leader string            // who holds the leader key
	epoch  uint64            // the greatest in the router entry so far
	terms  map[string]int    // agent → terms whose work has not returned
	passes map[string]passer // of the service's instances
	dead   map[deployment.Colour]time.Time
	tally  *score // of a simulation, else nil

	moody   map[string]bool      // hashes of the policies with a gate that tells
	failing map[string]bool      // and of those whose test job never passes
	gating  map[string]time.Time // proof → when it was last to be proven
	gated   map[string]bool      // deployments that came to their gates
	earned  map[string]bool      // hashes that a gate let pass, or that have served
	let     map[string]time.Time // proof → when a gate last let it pass
	theirs  []string             // what people route in the router as it was last
}

// passer is what a proxy knows of an instance.
type passer struct {
	colour deployment.Colour
	health deployment.Health
}

// writtenRecord is a record as it was written, and when in Consul's order.
type writtenRecord struct {
	index uint64
	deployment.Service
}

// mostBytes is what a record may grow to. Consul takes 512 KiB a transaction,
// in which the record of a release that ends stands twice, as base64.
const mostBytes = 160 << 10

// bounded is a store that takes no more in one transaction than Consul does.
type bounded struct{ *consultest.Client }

func (b bounded) Commit(ctx context.Context, fence consul.Fence, ops consulapi.KVTxnOps) (consulapi.KVPairs, error) {
	size := 0
	for _, op := range ops {
		size += len(op.Key) + len(op.Value)*4/3
	}
	if size > 512<<10 {
		return nil, &consul.Error{Op: "transaction", Kind: consul.ErrInvalid, Err: errors.New("Request body too large, max allowed is 524288 bytes")}
	}
	return b.Client.Commit(ctx, fence, ops)
}

func newWitness(w *world) *witness {
	return &witness{w: w, planted: map[string]bool{}, owner: deployment.None, routed: deployment.None,
		terms: map[string]int{}, passes: map[string]passer{}, dead: map[deployment.Colour]time.Time{},
		forces: map[string]bool{}, given: map[string]uint64{}, taken: map[string]uint64{}, answers: map[string]map[uint64]string{},
		approvals: map[string]uint64{}, gating: map[string]time.Time{}, let: map[string]time.Time{},
		gated: map[string]bool{}, earned: map[string]bool{}}
}

// breaks reports a broken invariant. The lock is held.
func (x *witness) breaks(format string, args ...any) {
	x.broken++
	what := fmt.Sprintf(format, args...)
	x.note("BROKEN: %s", what)
	x.w.Errorf("at %s: invariant broken: %s", x.w.clock(), what)
}

func (x *witness) note(format string, args ...any) {
	x.history = append(x.history, x.w.clock()+" "+fmt.Sprintf(format, args...))
}

// told is the history so far.
func (x *witness) told() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return strings.Join(x.history, "\n")
}

// sees is told of every change in Consul, in order. Consul is locked.
func (x *witness) sees(c consultest.Change) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch c.Of {
	case consultest.Keys:
		x.fenced(c)
		x.key(c.Key, c.Pair)
	case consultest.Entries:
		if c.Key == consulapi.ServiceRouter+"/api" {
			x.route(c)
		}
	case consultest.Instances:
		x.instance(c)
	}
}

func (x *witness) key(key string, pair *consulapi.KVPair) {
	keys := x.w.keys
	svc, verb, isCommand := keys.SplitCommand(key)
	who, _, isApproval := keys.SplitApproval(key)
	switch {
	case key == keys.State("api") && pair != nil:
		x.record(pair)
	case key == keys.JobProcessor("api"):
		x.jobs(pair)
	case strings.HasPrefix(key, keys.Deployments("api")) && pair != nil:
		x.ended(pair)
	case isApproval:
		if delete(x.approvals, who); pair != nil {
			x.approvals[who] = pair.ModifyIndex
		}
	case isCommand && pair == nil:
		x.taken[key] = x.given[key]
		delete(x.given, key)
	case isCommand:
		x.given[key] = pair.ModifyIndex
		x.forces[key] = strings.Contains(string(pair.Value), `"force":true`)
		x.note("command %s %s %s", svc, verb, pair.Value)
	case strings.HasPrefix(key, keys.Results("api")) && pair != nil:
		x.result(keys.Command("api", kv.Verb(strings.TrimPrefix(key, keys.Results("api")))), pair)
	}
}

// approved: where approvers are named, an approval rests on as many keys as it
// takes, each of them there at that moment and written while this was asked for.
func (x *witness) approved(before, now deployment.Service) {
	if !before.InFlight() || before.Deployment.Ask == nil || before.Deployment.Approval != nil ||
		now.Deployment == nil || now.Deployment.ID != before.Deployment.ID || now.Deployment.Approval == nil {
		return
	}
	ask, a := *before.Deployment.Ask, now.Deployment.Approval
	givers := map[string]bool{}
	for _, c := range a.Consents {
		givers[c.By] = slices.Contains(ask.Approvers, c.By)
		if x.approvals[c.By] != c.Index || c.Index <= ask.After || c.Proof != now.Deployment.Candidate.Proof() || !givers[c.By] {
			x.breaks("%s approved %s by %+v, and that key is at %d", c.By, now.Deployment.Candidate.Proof(), c, x.approvals[c.By])
		}
	}
	if len(givers) < ask.Quorum {
		x.breaks("approved by %v, and it takes %s", a.Consents, ask.Wanted())
	}
	x.note("approved by %s", a.By)
}

// record: whatever is written can be read by whoever leads next, and Consul
// will always have room for it.
func (x *witness) record(pair *consulapi.KVPair) {
	if x.planted[string(pair.Value)] {
		return
	}
	rec, err := deployment.Decode("api", pair.Value)
	if err != nil {
		x.breaks("a record that nobody can read: %v", err)
		return
	}
	if len(pair.Value) > mostBytes {
		x.breaks("the record has %d bytes", len(pair.Value))
	}
	x.note("record %s", gistForPeople(rec))
	if before := x.last(); before != nil {
		x.wayBack(before.Service, rec)
		x.approved(before.Service, rec)
		x.proving(before.Service, rec)
		x.tally.stepped(before.Service, rec)
	} else {
		x.tally.stepped(deployment.Service{}, rec)
	}
	x.records = append(x.records, writtenRecord{pair.ModifyIndex, rec})
}

// ended is a deployment that has ended, also one whose successor began in the
// same write.
func (x *witness) ended(pair *consulapi.KVPair) {
	var d deployment.Deployment
	if err := json.Unmarshal(pair.Value, &d); err != nil {
		x.breaks("a finished deployment that nobody can read: %v", err)
		return
	}
	if n := len(x.records); n > 1 && x.records[n-1].Deployment != nil && x.records[n-1].Deployment.ID != d.ID {
		x.tally.stepped(x.records[n-2].Service, deployment.Service{Deployment: &d})
	}
}

// wayBack (4): while the previous colour is the way back its slot stays.
func (x *witness) wayBack(before, now deployment.Service) {
	if !before.InFlight() || !now.InFlight() || before.Deployment.ID != now.Deployment.ID || !before.Deployment.From.Valid() {
		return
	}
	from := before.Deployment.From
	was, is := before.Slots[from], now.Slots[from]
	if was.Job != is.Job || was.Hash != is.Hash || was.Scaled != is.Scaled {
		x.breaks("the previous colour went from %+v to %+v", was, is)
	}
}

// jobs (5): from one colour to the other only through none.
func (x *witness) jobs(pair *consulapi.KVPair) {
	now := deployment.None
	if pair != nil {
		now = deployment.Colour(pair.Value)
	}
	x.note("jobs %s", now)
	if x.owner.Valid() && now.Valid() && x.owner != now {
		x.breaks("the jobs went from %s to %s at once", x.owner, now)
	}
	x.owner = now
}

// result: a command is answered once, together with its end.
func (x *witness) result(command string, pair *consulapi.KVPair) {
	var r kv.Result
	if err := json.Unmarshal(pair.Value, &r); err != nil {
		x.breaks("result of %s: %v", command, err)
		return
	}
	x.note("result of %s: accepted %v: %s", command, r.Accepted, r.Reason)
	if x.answers[command] == nil {
		x.answers[command] = map[uint64]string{}
	}
	if before, ok := x.answers[command][r.Index]; ok {
		x.breaks("%s at %d was answered %q and then %q", command, r.Index, before, r.Reason)
	}
	if x.taken[command] != r.Index {
		x.breaks("%s at %d was answered without being taken off: %q", command, r.Index, r.Reason)
	}
	if r.Reason == "" {
		x.breaks("%s was answered without a word", command)
	}
	x.answers[command][r.Index] = r.Reason
	if r.Accepted && x.forces[command] {
		x.insisted = time.Now()
	}
}

func (x *witness) last() *writtenRecord {
	if len(x.records) == 0 {
		return nil
	}
	return &x.records[len(x.records)-1]
}

// proving notes when a candidate is to be proven, or proven anew.
func (x *witness) proving(before, now deployment.Service) {
	is := func(s deployment.Service) bool { return s.InFlight() && s.Deployment.State == deployment.Gating }
	if is(now) && !(is(before) && before.Deployment.ID == now.Deployment.ID && before.Deployment.Candidate.Proof() == now.Deployment.Candidate.Proof()) {
		x.gating[now.Deployment.Candidate.Proof()] = time.Now()
		x.gated[now.Deployment.ID] = true
	}
	if slot, ok := now.Slots[now.Active]; ok {
		x.earned[slot.Hash] = true
	}
	if is(before) && !is(now) && now.InFlight() && !x.moody[before.Deployment.Candidate.Policy] { // it had no gate of its own
		x.earned[now.Deployment.Candidate.Hash] = true
	}
}

// lets: a gate has let a candidate pass.
func (x *witness) lets(proof string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.let[proof] = time.Now()
	hash, _, _ := strings.Cut(proof, "+")
	x.earned[hash] = true
}

// proven (1): whatever the record says, where a policy has a gate, that gate has
// let exactly this pass since it was to be proven. Traffic that is switched to what
// stands there asks no gate: a gate let that pass once, or it has served.
func (x *witness) proven(rec *writtenRecord) {
	d := rec.Deployment
	if !rec.InFlight() || d.State != deployment.CuttingOver || d.Forced != nil {
		return
	}
	proof := d.Candidate.Proof()
	since, gated := x.gating[proof]
	if !x.gated[d.ID] {
		if !x.earned[d.Candidate.Hash] {
			x.breaks("traffic went to %s, which no gate has ever let pass", d.To)
		}
		return
	}
	if gated && x.failing[d.Candidate.Policy] {
		x.breaks("traffic went to %s, whose test never passes", d.To)
	}
	if !x.moody[d.Candidate.Policy] {
		return
	}
	if at, passed := x.let[proof]; gated && (!passed || at.Before(since)) {
		x.breaks("traffic went to %s, whose gate has not passed", d.To)
	}
}

// kept (9): what people route stays in whatever an agent writes.
func (x *witness) kept(c consultest.Change) {
	was := x.theirs
	x.theirs = nil
	if c.Entry != nil {
		for _, r := range c.Entry.(*consulapi.ServiceRouterConfigEntry).Routes {
			if r.Match != nil && r.Match.HTTP != nil && strings.HasPrefix(r.Match.HTTP.PathPrefix, "/admin") {
				x.theirs = append(x.theirs, r.Match.HTTP.PathPrefix)
			}
		}
	}
	lost := slices.DeleteFunc(slices.Clone(was), func(r string) bool { return slices.Contains(x.theirs, r) })
	if isAgent(c.Agent) && len(lost) > 0 { // a rollback may bring back what was deleted
		x.breaks("%s made the routes of people, %v, into %v", c.Agent, was, x.theirs)
	}
}

// leads says where a plain request is sent, as a proxy reads the routes: the first
// that matches has it. None is nobody's colour, or no route's. It shares nothing with
// the code that writes them.
func leads(e consulapi.ConfigEntry, path string) deployment.Colour {
	router, ok := e.(*consulapi.ServiceRouterConfigEntry)
	if !ok {
		return deployment.None
	}
	for _, r := range router.Routes {
		if m := r.Match; m != nil && m.HTTP != nil {
			http := m.HTTP
			asks := len(http.Header) > 0 || len(http.QueryParam) > 0 || len(http.Methods) > 0 || http.PathRegex != ""
			if asks || http.PathExact != "" && http.PathExact != path || !strings.HasPrefix(path, http.PathPrefix) {
				continue
			}
		}
		if r.Destination == nil {
			return deployment.None
		}
		colour, _ := deployment.ParseColour(r.Destination.ServiceSubset)
		return colour
	}
	return deployment.None
}

// along: when an agent moves traffic, what people route goes there with it.
func (x *witness) along(c consultest.Change, to deployment.Colour) {
	if !isAgent(c.Agent) || !to.Valid() {
		return
	}
	for _, path := range x.theirs {
		if got := leads(c.Entry, path); got != to {
			x.breaks("%s moved traffic to %s, and that of people's route %s to %s", c.Agent, to, path, got)
		}
	}
}

// route (1, 2, 6, 7): traffic goes only where a record written before said that
// it would, only to what has a proof or was forced, only to what answers, and
// never by a leader older than the entry.
func (x *witness) route(c consultest.Change) {
	x.kept(c)
	if c.Entry == nil { // given back, or deleted by somebody
		x.routed, x.epoch = deployment.None, 0
		return
	}
	o := traffic.Inspect(c.Entry)
	if o.Owner == "" {
		x.epoch = 0
	} else if isAgent(c.Agent) {
		if o.Epoch < x.epoch {
			x.breaks("%s wrote the route under epoch %d after one of %d", c.Agent, o.Epoch, x.epoch)
		}
		x.epoch = max(x.epoch, o.Epoch)
	}
	to := leads(c.Entry, "/")
	if to == x.routed {
		return
	}
	x.note("route to %s by %s", to, c.Agent)
	first := x.routed == deployment.None
	x.routed = to
	x.along(c, to)
	if first || !to.Valid() {
		return // prepared around what serves, or pointed at the empty colour; or given back
	}
	rec := x.last()
	switch why := mayServe(rec, to); {
	case rec == nil:
		x.breaks("traffic went to %s without a record", to)
	case why != "":
		x.breaks("traffic went to %s: %s; the record was %s", to, why, gistForPeople(rec.Service))
	default:
		x.proven(rec)
		x.answers503(c.Agent, rec, to)
	}
}

// mayServe says why traffic may not be moved to a colour under a record.
func mayServe(rec *writtenRecord, to deployment.Colour) string {
	if rec == nil {
		return "no record"
	}
	d := rec.Deployment
	switch {
	case rec.Active == to:
		return ""
	case !rec.InFlight():
		return "nothing is being released"
	case d.State == deployment.RollingBack && d.From == to:
		return ""
	case d.State == deployment.RollingBack && d.Cutover != nil:
		return "" // the cutover that is given up was on its way; the rollback follows it
	case d.State != deployment.CuttingOver || d.To != to:
		return "no cutover to it was decided"
	case d.Forced != nil:
		if d.Forced.By == "" {
			return "forced by nobody"
		}
		return ""
	case rec.Slots[to].Proof == "":
		return "its slot has no proof"
	}
	return ""
}

// watched is an agent's Nomad with the witness beside it.
type watched struct {
	Nomad
	x *witness
}

// Parse is a jobspec with timestamp() in it, where the world is restless, and
// with an autoscaler, where it is scaled.
func (n watched) Parse(ctx context.Context, source, variables string) (*nomadapi.Job, error) {
	job, err := n.Nomad.Parse(ctx, source, variables)
	if err == nil && n.x.w.restless {
		job.TaskGroups[0].Tasks[0].Env["AT"] = n.x.w.clock() + fmt.Sprint(parses.Add(1))
	}
	if err == nil && n.x.w.scaled {
		yes, least, most := true, int64(1), int64(20)
		job.TaskGroups[0].Scaling = &nomadapi.ScalingPolicy{Enabled: &yes, Min: &least, Max: &most}
	}
	return job, err
}

var parses atomic.Int64

// A stop or a scaling is ordered once its guard has admitted it.
func (n watched) StopIf(ctx context.Context, namespace, id string, guard nomad.Guard) error {
	return n.Nomad.StopIf(ctx, namespace, id, n.admitted(guard, "stopped", nil))
}

func (n watched) Scale(ctx context.Context, namespace, id string, counts map[string]int, guard nomad.Guard) error {
	return n.Nomad.Scale(ctx, namespace, id, counts, n.admitted(guard, "scaled", counts))
}

func (n watched) admitted(guard nomad.Guard, how string, counts map[string]int) nomad.Guard {
	return func(ctx context.Context, job *nomadapi.Job) error {
		err := guard(ctx, job)
		if err == nil {
			n.x.mayTouch(value(job.ID), how, counts)
		}
		return err
	}
}

func (n watched) Register(ctx context.Context, job *nomadapi.Job, index uint64, sub nomad.Submission) (nomad.Registration, error) {
	n.x.mayTouch(value(job.ID), "registered", nil)
	return n.Nomad.Register(ctx, job, index, sub)
}

// mayTouch (4): what serves, and the way back until the soak has ended, are
// neither stopped nor registered anew nor made smaller, by nobody in Teal.
func (x *witness) mayTouch(id, how string, counts map[string]int) {
	var small bool
	if counts != nil && emptied(counts) {
		how = "emptied"
	}
	if counts != nil {
		job, err := x.w.nomad.Client("witness").Job(context.Background(), "", id)
		if err != nil || job == nil {
			return
		}
		for group, n := range jobspec.Counts(job) {
			if now, ok := counts[group]; ok && now < n {
				small = true
			}
		}
		if !small {
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.note("job %s is %s %v", id, how, counts)
	x.untouched(id, how)
}

func emptied(counts map[string]int) bool {
	for _, n := range counts {
		if n > 0 {
			return false
		}
	}
	return true
}

// writes (4): the same, of what an agent had sent, when Nomad does it, also of an
// agent that was stopped before it sent it. Nomad is locked.
func (x *witness) writes(w nomadtest.Write) {
	if !isAgent(w.Agent) {
		return
	}
	if x.tally != nil && !w.Sent.After(x.insisted) {
		return // it was on its way when somebody insisted on traffic to what is being stopped
	}
	how, small := "registered", false
	switch {
	case value(w.Now.Stop):
		how = "stopped"
	case w.Op == "Scale", w.Op == "Raise":
		if how = "scaled"; emptied(jobspec.Counts(w.Now)) {
			how = "emptied"
		}
		for group, n := range jobspec.Counts(w.Now) {
			small = small || w.Before != nil && n < jobspec.Counts(w.Before)[group]
		}
		if !small {
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.note("in Nomad job %s is %s, sent by %s", value(w.Now.ID), how, w.Agent)
	x.untouched(value(w.Now.ID), how)
}

// untouched holds a job that is written against the record.
func (x *witness) untouched(id, how string) {
	rec := x.last()
	if rec == nil {
		return
	}
	for colour, slot := range rec.Slots {
		if slot.Job != id {
			continue
		}
		d := rec.Deployment
		why := ""
		switch {
		case colour == rec.Active && how == "scaled" && (!rec.InFlight() || d.State.BeforeCutover() || protected(d.State)) && x.tally != nil:
			// Somebody made it greater by hand; the edited policy says its size.
		case colour == rec.Active:
			why = "it serves"
		case !rec.InFlight():
		case d.State == deployment.CuttingOver && colour == d.To && d.Forced != nil && how == "registered":
			// Forced to a candidate at the moment at which it is registered.
		case d.State == deployment.CuttingOver && colour == d.To:
			why = "traffic is on its way to it"
		case (d.State == deployment.CuttingOver || d.State == deployment.Watching || d.State == deployment.Soaking || d.State == deployment.RollingBack) && colour == d.From:
			why = "it is the way back"
		}
		if why != "" && !x.w.scalesDown {
			x.breaks("job %s (%s) is %s by Teal, and %s; the record was %s", id, colour, how, why, gistForPeople(rec.Service))
		}
	}
}

// settled holds the whole of a quiet world: what Consul says to proxies,
// scripts and workers is what the record says.
func (x *witness) settled() {
	x.w.Helper()
	rec := x.w.record()
	if !rec.Managed || rec.InFlight() || rec.Jobs.Moving() {
		return
	}
	if got := x.w.routed(); rec.Active.Valid() && got != rec.Active && rec.Route.Router == consulapi.ServiceRouter && rec.Held == nil {
		x.w.Errorf("invariant broken: %s is active, and requests go to %s", rec.Active, got)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if rec.Active.Valid() && x.owner != rec.Active {
		x.breaks("%s is active, and the jobs belong to %s", rec.Active, x.owner)
	}
}

// gistForPeople is a record in a line.
func gistForPeople(rec deployment.Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "active %s", rec.Active)
	for _, c := range deployment.Colours {
		if slot, ok := rec.Slots[c]; ok {
			fmt.Fprintf(&b, ", %s %s", c, slot.Version)
			if slot.Proof == "" {
				b.WriteString(" (unproven)")
			}
			if slot.Scaled {
				b.WriteString(" (scaled)")
			}
			if slot.StopAt != nil {
				b.WriteString(" (kept)")
			}
		}
	}
	if d := rec.Deployment; d != nil {
		fmt.Fprintf(&b, ", %s of %s to %s", d.State, d.Candidate.Version, d.To)
		if d.Outcome != "" {
			fmt.Fprintf(&b, " (%s: %s)", d.Outcome, d.Reason)
		}
	}
	fmt.Fprintf(&b, ", jobs %s", rec.Jobs.Owner)
	if rec.Jobs.Moving() {
		fmt.Fprintf(&b, " for %s", rec.Jobs.Target)
	}
	if rec.Queued != nil {
		fmt.Fprintf(&b, ", queued %s", rec.Queued.Version)
	}
	for what, flag := range map[string]*deployment.Flag{"paused": rec.Paused, "HELD": rec.Held, "PROBLEM": rec.Problem} {
		if flag != nil {
			fmt.Fprintf(&b, ", %s: %s", what, flag.Reason)
		}
	}
	if !rec.Managed {
		b.WriteString(", not managed")
	}
	return b.String()
}
