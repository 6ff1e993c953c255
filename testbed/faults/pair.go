package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// Pair is what became of two agents that made one release after another.
type Pair struct {
	Ledger
	Took     time.Duration
	Releases map[deployment.Outcome]int
	Harms    map[string]int // what was done to agents, by its kind
	Changes  int            // of leader, at the least
	Longest  time.Duration  // of a release
	Requests int
	Harmed   int // requests
	Spoiled  int // requests that a bad version answered with an error, as it was told to
	Broken   string
}

// releases are one after another what the pair makes: good versions, and bad
// ones that are found before and after their cutover.
var releases = []walk{walks[0], walks[1], {
	name: "bad before cutover",
	service: world.Service{
		Fault: "errors", KeepFailed: 300 * time.Millisecond,
		Gates: "gate \"http\" \"smoke\" {\n  path     = \"/version\"\n  attempts = 2\n  interval = \"100ms\"\n}",
	},
	want: end{
		Outcome: deployment.Failed, Record: "previous", Active: "previous", Router: "previous",
		Resolver: "previous", DataPlane: "previous", Jobs: "previous", Previous: 1, CandidateStopped: true,
	},
}, {
	name: "bad after cutover",
	service: world.Service{
		Fault: "errors:0.5", After: 40, Gates: gate, Watch: time.Hour, KeepFailed: 300 * time.Millisecond,
		Triggers: "trigger \"errors\" \"http-5xx\" {\n  above        = 0.05\n  min_requests = 20\n}",
	},
	want: walks[1].want,
}}

// harm is something that is done to one of the two agents when a release has
// come to a state, or right away when it never does.
type harm struct {
	name string
	do   func(l *lane, ctx context.Context, victim, other *world.Agent) error
}

var harms = []harm{
	{"SIGKILL", func(_ *lane, _ context.Context, victim, _ *world.Agent) error { return victim.Kill() }},
	{"SIGTERM", func(l *lane, ctx context.Context, victim, _ *world.Agent) error { return l.down(ctx, victim) }},
	{"SIGSTOP until another leads", func(_ *lane, ctx context.Context, victim, other *world.Agent) error {
		if err := victim.Pause(); err != nil {
			return err
		}
		return errors.Join(leads(ctx, other), victim.Resume())
	}},
	{"SIGKILL of the one that follows", func(_ *lane, _ context.Context, _, other *world.Agent) error { return other.Kill() }},
}

// states are when an agent is harmed.
var states = []deployment.State{
	deployment.Preparing, deployment.Launching, deployment.Gating, deployment.Approving, deployment.CuttingOver,
	deployment.Watching, deployment.Soaking, deployment.Retiring, deployment.RollingBack, deployment.Done,
}

// Twins has two agents make releases one after another for so long, with good
// and bad versions, and harms one of them in most. Every release has to end as
// it is specified, whoever made it; the seed says what is done when.
func Twins(ctx context.Context, w *world.World, name string, length time.Duration, seed uint64, log io.Writer) (p Pair, err error) {
	p = Pair{Releases: map[deployment.Outcome]int{}, Harms: map[string]int{}}
	l, err := newLane(ctx, w, name, world.Service{}, log)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	start, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := l.both(start); err != nil {
		return p, err
	}
	c, err := l.hire(start, 1)
	if err != nil {
		return p, err
	}
	began, draw, last := time.Now(), rand.New(rand.NewPCG(seed, 5)), ""
	for n := 0; time.Since(began) < length || n < len(releases); n++ {
		before := time.Now()
		// The first of each kind comes at once, so that a short run has them all.
		walk := releases[n%len(releases)]
		if n >= len(releases) {
			walk = releases[draw.IntN(len(releases))]
		}
		h, at := harms[draw.IntN(len(harms))], states[draw.IntN(len(states))]
		leader, err := l.twin(ctx, c, walk, h, at, draw.IntN(4) > 0, &p)
		if err != nil {
			p.Broken = fmt.Sprintf("release %d, %s, %s at %s: %v", n+1, walk.name, h.name, at, err)
			fmt.Fprintln(log, "BROKEN:", p.Broken)
			l.Site.Logs(log, 60)
			break
		}
		if leader != last {
			p.Changes++
			last = leader
		}
		p.Longest = max(p.Longest, time.Since(before))
		if (n+1)%20 == 0 {
			fmt.Fprintf(log, "pair: %d releases, %s\n", n+1, round(began))
		}
	}
	p.Took = time.Since(began)
	return p, p.count(ctx, l, c)
}

// twin makes one release and harms an agent on the way. It gives who leads in
// the end.
func (l *lane) twin(ctx context.Context, c *crew, w walk, h harm, at deployment.State, hurt bool, p *Pair) (leader string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := l.both(ctx); err != nil {
		return "", err
	}
	if err := l.begin(w); err != nil {
		return "", err
	}
	version := l.service.Version
	done := make(chan error, 1)
	go func() {
		if !hurt {
			done <- nil
			return
		}
		done <- l.harm(ctx, version, at, h)
	}()
	if w.orders != nil {
		err = w.orders(ctx, l, version)
	}
	if err == nil {
		err = l.comesTo(ctx, version, w.want)
	}
	if err != nil {
		cancel() // it may wait for a state that does not come
		return "", errors.Join(err, <-done)
	}
	if err := <-done; err != nil {
		return "", err
	}
	if hurt {
		p.Harms[h.name]++
	}
	p.Releases[w.want.Outcome]++
	if err := l.both(ctx); err != nil {
		return "", err
	}
	// Whoever leads now has nothing to mend, and nobody has anything to add.
	if err := l.comesTo(ctx, version, w.want); err != nil {
		return "", fmt.Errorf("after its end: %w", err)
	}
	rec, err := l.Record(ctx, l.service.Name)
	if err != nil {
		return "", err
	}
	if harmed, count := l.harmed(); harmed > 0 {
		return "", fmt.Errorf("requests: %s", count)
	}
	if err := c.works(ctx, rec.Active); err != nil {
		return "", err
	}
	_, health, err := l.first.Health(ctx)
	return health.Leader, err
}

// harm waits until a release has come as far as a state, and hurts whoever
// leads then, or who follows.
func (l *lane) harm(ctx context.Context, version string, at deployment.State, h harm) error {
	d, err := l.AwaitRelease(ctx, l.service.Name, version, func(d deployment.Deployment) bool {
		return d.Outcome != "" || slices.Index(states, d.State) >= slices.Index(states, at)
	})
	if err != nil {
		return fmt.Errorf("the release of %s does not come to %s: %w; it is %s", version, at, err, d.State)
	}
	victim, other := l.first, l.second
	if _, health, err := l.second.Health(ctx); err == nil && health.Leading {
		victim, other = other, victim
	}
	if err := h.do(l, ctx, victim, other); err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	return l.both(ctx)
}

// both has two agents run, one of which leads and is known to the other.
func (l *lane) both(ctx context.Context) error {
	all := []*world.Agent{l.first, l.second}
	for _, a := range all {
		if !a.Running() {
			if err := a.Start(ctx); err != nil {
				return err
			}
		}
	}
	return agree(ctx, all...)
}

// count takes in what the workers wrote and how requests fared.
func (p *Pair) count(ctx context.Context, l *lane, c *crew) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var err error
	if p.Ledger, err = c.ledger(ctx); err != nil {
		return err
	}
	harmed, requests := l.harmed()
	p.Requests, p.Harmed, p.Spoiled = requests.Requests, harmed, requests.Injected
	fmt.Fprintf(l.log, "requests: %s\n", requests)
	return nil
}
