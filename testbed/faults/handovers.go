package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/product"
	"github.com/tealdeploy/teal/testbed/world"
)

const (
	workersEach = 10 // a colour
	tickEvery   = 20 * time.Millisecond
	// longestJob is how long the slowest worker of a colour takes to finish what
	// it has begun: a handover that does not wait for it is seen.
	longestJob = 500 * time.Millisecond
	// deadline is the policy's handover_deadline. A worker that was killed holds
	// its key until its session ends, so that it is also how long a handover
	// waits for one before it cuts it off and waits its lease out.
	deadline = 5 * time.Second
	// quiet are the handovers after the last fault.
	quiet = 10
)

// Handovers are many cutovers of a service with workers, through faults.
type Handovers struct {
	Ledger               // over all of it
	Calm   time.Duration // the longest time in which nobody was at work, once faults had ended

	Cutovers     int
	AgentKills   int
	WorkerKills  int
	LeaderKills  int            // of Consul, in the moment of the cutover's write
	LeaderBefore int            // of these, before Consul had the write
	Leaders      map[string]int // who was killed
	Harmed       int            // requests
}

// crew is some workers a colour under `teal work`, and what they write.
type crew struct {
	lane    *lane
	path    string
	workers map[deployment.Colour][]*cluster.Server
}

func (l *lane) hire(ctx context.Context, each int) (*crew, error) {
	ticker, err := product.Ticker(ctx, l.Dir)
	if err != nil {
		return nil, err
	}
	c := &crew{lane: l, path: filepath.Join(l.Dir, "ticks"), workers: map[deployment.Colour][]*cluster.Server{}}
	for _, colour := range deployment.Colours {
		for i := range each {
			w := l.Program(cluster.Program{
				Name: fmt.Sprintf("%s-%s-%d", l.service.Name, colour, i), Path: l.World.Teal,
				Args: []string{"work", "-service", l.service.Name, "--", ticker, c.path, tickEvery.String(), (longestJob * time.Duration(i+1) / time.Duration(each)).String()},
				Env:  append(l.Env(), "ENVIRONMENT_NAME="+string(colour)),
			})
			if err := w.Start(ctx); err != nil {
				return nil, err
			}
			c.workers[colour] = append(c.workers[colour], w)
		}
	}
	return c, nil
}

// works waits until the last line is one of a colour's.
func (c *crew) works(ctx context.Context, colour deployment.Colour) error {
	return cluster.Await(ctx, func(context.Context) error {
		file, err := os.Open(c.path)
		if err != nil {
			return err
		}
		defer file.Close()
		size, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		tail := make([]byte, min(size, 200))
		if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(tail)), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, " "+string(colour)+" ") {
			return fmt.Errorf("nobody of %s is at work; the last line is %q", colour, last)
		}
		return nil
	})
}

// ledger dismisses the workers and judges all that they wrote.
func (c *crew) ledger(ctx context.Context) (Ledger, error) {
	if err := c.dismiss(ctx); err != nil {
		return Ledger{}, err
	}
	all, err := c.since(0)
	return judge(all), err
}

// dismiss ends the workers in order.
func (c *crew) dismiss(ctx context.Context) error {
	var errs []error
	for _, all := range c.workers {
		for _, w := range all {
			if w.Running() {
				_, err := w.Terminate(ctx)
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// since reads the lines from an offset on.
func (c *crew) since(offset int64) ([]tick, error) {
	file, err := os.Open(c.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return readTicks(file)
}

// HandOver cuts over so many times, and the jobs with the traffic. On the way
// it kills workers and agents, and Consul's leader so many times at the very
// write of the cutover: whichever of its servers that is, also the one by which
// the local Consul asks the others.
func HandOver(ctx context.Context, w *world.World, name string, cutovers, leaderKills int, log io.Writer) (h Handovers, err error) {
	if slices.Contains(w.Consul, w.Local) {
		return h, errors.New("agents, Nomad and the data plane would lose their own Consul, not its leader: have one that is no server (ConsulClient)")
	}
	h.Leaders = map[string]int{}
	l, err := newLane(ctx, w, name, world.Service{Jobs: fmt.Sprintf("handover_deadline = %q", deadline)}, log)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	now, err := l.bothColours(ctx)
	if err != nil {
		return h, err
	}
	start, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := l.hire(start, workersEach)
	if err != nil {
		return h, err
	}
	if err := c.works(start, now); err != nil {
		return h, err
	}
	began, calm := time.Now(), int64(0)
	defer func() { err = errors.Join(err, h.count(ctx, l, c, calm)) }()
	for i := range cutovers {
		if i == cutovers-quiet {
			info, err := os.Stat(c.path)
			if err != nil {
				return h, err
			}
			calm = info.Size()
		}
		if err := l.cutover(ctx, c, i, cutovers, leaderKills, now.Other(), &h); err != nil {
			err = fmt.Errorf("cutover %d of %d, to %s: %w", i+1, cutovers, now.Other(), err)
			l.Site.Logs(log, 40)
			return h, err
		}
		now = now.Other()
		h.Cutovers++
		if (i+1)%20 == 0 {
			fmt.Fprintf(log, "%d of %d handovers, %s\n", i+1, cutovers, round(began))
		}
	}
	return h, nil
}

// bothColours has the first agent lead and the second one wait, and a second
// release stay beside the first. It gives the colour that serves.
func (l *lane) bothColours(ctx context.Context) (deployment.Colour, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l.service.Watch, l.service.Soak, l.service.Triggers = -1, -1, ""
	if err := l.first.Start(ctx); err != nil {
		return "", err
	}
	if err := leads(ctx, l.first); err != nil {
		return "", err
	}
	if err := l.next(); err != nil {
		return "", err
	}
	d, err := l.AwaitEnd(ctx, l.service.Name, l.service.Version)
	if err != nil || d.Outcome != deployment.Succeeded {
		return "", fmt.Errorf("the second release ended %q: %w", d.Outcome, err)
	}
	return d.To, l.follows(ctx, l.second, l.first)
}

// count dismisses the workers and takes in what they wrote, also of handovers
// that broke off.
func (h *Handovers) count(ctx context.Context, l *lane, c *crew, calm int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var err error
	if h.Ledger, err = c.ledger(ctx); err != nil {
		return err
	}
	last, err := c.since(calm)
	if err != nil {
		return err
	}
	h.Calm = judge(last).MaxGap
	harmed, requests := l.harmed()
	h.Harmed = harmed
	fmt.Fprintf(l.log, "requests: %s\n", requests)
	for _, f := range requests.Failures {
		fmt.Fprintf(l.log, "lost at %s after %s on %q: %v\n", f.Begun.Format("15:04:05.000"), f.Took, f.Subset, f.Err)
	}
	return nil
}

// fault is what happens during a cutover.
type fault int

const (
	nothing fault = iota
	workerDies
	agentDies
	leaderDies
)

// faultAt spreads the faults over the cutovers.
func faultAt(i, cutovers, leaderKills int) fault {
	noisy := cutovers - quiet
	switch {
	case i >= noisy:
		return nothing
	case (i+1)*leaderKills/noisy != i*leaderKills/noisy:
		return leaderDies
	case i%20 == 7:
		return workerDies
	case i%7 == 3:
		return agentDies
	}
	return nothing
}

func (l *lane) cutover(ctx context.Context, c *crew, i, cutovers, leaderKills int, to deployment.Colour, h *Handovers) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	revive := func() error { return nil }
	switch faultAt(i, cutovers, leaderKills) {
	case workerDies:
		victim := c.workers[to.Other()][i%workersEach]
		if err := victim.Kill(); err != nil {
			return err
		}
		h.WorkerKills++
		revive = func() error { return victim.Start(ctx) }
	case agentDies:
		if err := l.regain(ctx); err != nil {
			return err
		}
		// Somewhere in the cutover: at another write each time.
		var all counter
		var once sync.Once
		l.hook(func(w *Write, m Moment) bool {
			all.count(w, m)
			if m == Before && len(all.points()) > i/7%6 {
				once.Do(func() { _ = l.first.Kill() }) // looked at below
			}
			return l.first.Running()
		})
		revive = func() error {
			l.hook(nil)
			if !l.first.Running() { // else it made fewer writes
				h.AgentKills++
			}
			return l.regain(ctx)
		}
	case leaderDies:
		if err := quorum(ctx, l.World); err != nil {
			return err
		}
		leader, err := l.ConsulLeader(ctx)
		if err != nil {
			return err
		}
		if err := l.regain(ctx); err != nil {
			return err
		}
		moment := []Moment{Before, After}[h.LeaderKills%2]
		killed := make(chan error, 1)
		var once sync.Once
		l.consul.Watch(func(w *Write, m Moment) bool {
			if m == moment && w.Entry == consulapi.ServiceRouter+"/"+l.service.Name {
				once.Do(func() { killed <- leader.Kill() })
			}
			return true
		})
		revive = func() error {
			l.consul.Watch(nil)
			select {
			case err := <-killed:
				if err != nil {
					return err
				}
				h.LeaderKills++
				h.Leaders[leader.Name]++
				if moment == Before {
					h.LeaderBefore++
				}
				return leader.Start(ctx)
			default:
				return errors.New("the route was written and nobody saw it: the first agent does not lead")
			}
		}
	}
	if err := l.put(ctx, kv.Cutover, string(to)); err != nil {
		return err
	}
	_, err := l.AwaitRecord(ctx, l.service.Name, func(r deployment.Service) bool {
		return r.Active == to && !r.InFlight() && r.Jobs.Owner == to && !r.Jobs.Moving()
	})
	if err != nil {
		answer, _ := l.Value(context.WithoutCancel(ctx), l.Keys.Result(l.service.Name, kv.Cutover))
		return fmt.Errorf("%w; the command was answered %s", err, answer)
	}
	if err := l.Serves(ctx, string(to), 1); err != nil {
		return err
	}
	if err := c.works(ctx, to); err != nil {
		return err
	}
	return revive()
}

// regain has the first agent lead, whose writes are seen, and the second one
// wait, whatever became of them.
func (l *lane) regain(ctx context.Context) error {
	for _, a := range []*world.Agent{l.first, l.second} {
		if !a.Running() {
			if err := a.Start(ctx); err != nil {
				return err
			}
		}
	}
	if _, h, err := l.first.Health(ctx); err != nil || h.Leading {
		return err
	}
	if err := l.down(ctx, l.second); err != nil {
		return err
	}
	if err := leads(ctx, l.first); err != nil {
		return err
	}
	return l.follows(ctx, l.second, l.first)
}
