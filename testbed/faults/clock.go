package faults

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/product"
	"github.com/tealdeploy/teal/testbed/replay"
	"github.com/tealdeploy/teal/testbed/world"
)

// clock is the wall clock of one agent, which is wrong as often as told to.
type clock struct {
	file  *os.File
	wrong []time.Duration // by how much it was, at any time of a release
}

// set makes it wrong by so much from now on.
func (c *clock) set(by time.Duration) error {
	c.wrong = append(c.wrong, by)
	_, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(by/time.Second)), 0)
	return err
}

// jumps are by how much a clock is set.
var jumps = []time.Duration{-time.Hour, time.Hour, 24 * time.Hour, -24 * time.Hour}

// watchFor and soakFor are the walks' that time is measured in.
const (
	watchFor = 3 * time.Second
	soakFor  = 2 * time.Second
)

// SetClock sets an agent's clock back and forth, as an operator or a time
// daemon does to a machine's: at every state of a release and of a rollback, so
// many rounds of each, with another jump at each state in every round. After
// that it sets it back, and kills the agent in that very moment: the next one
// finds times on record that have not come yet.
func SetClock(ctx context.Context, w *world.World, name string, rounds int, log io.Writer) (all []Away, err error) {
	l, err := newLane(ctx, w, name, world.Service{}, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	a, c, err := l.clocked(ctx)
	if err != nil {
		return nil, err
	}
	defer c.file.Close()
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	do := func(what string, happens func(context.Context) error) bool {
		x := l.without(ctx, what, func(ctx context.Context) error { return errors.Join(happens(ctx), c.set(0)) })
		if all = append(all, x); x.Broken != "" {
			fmt.Fprintf(log, "BROKEN: %s: %s\n", x.What, x.Broken)
			l.Site.Logs(log, 40)
		}
		return x.Broken == ""
	}
	for round := range rounds {
		for _, walk := range timed() {
			what := fmt.Sprintf("clock set at every state, %s %d", walk.name, round+1)
			if !do(what, func(ctx context.Context) error { return l.throughTime(ctx, walk, c, round) }) {
				return all, nil
			}
		}
	}
	for _, at := range []deployment.State{deployment.Approving, deployment.Watching, deployment.Soaking} {
		what := fmt.Sprintf("clock set back and the agent killed, %s", at)
		if !do(what, func(ctx context.Context) error { return l.backInTime(ctx, a, c, at) }) {
			return all, nil
		}
	}
	return all, nil
}

// clocked makes an agent whose clock can be set.
func (l *lane) clocked(ctx context.Context) (*world.Agent, *clock, error) {
	dir := filepath.Join(l.Dir, "clock")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	root, err := replay.Goroot()
	if err != nil {
		return nil, nil, err
	}
	replaced := map[string]string{}
	if err := replay.Overlay(dir, root, replay.Clock, replaced); err != nil {
		return nil, nil, err
	}
	overlay, err := replay.Write(dir, replaced)
	if err != nil {
		return nil, nil, err
	}
	teal, err := product.TealWith(ctx, dir, overlay)
	if err != nil {
		return nil, nil, err
	}
	c := &clock{}
	if c.file, err = os.Create(filepath.Join(dir, "wrong-by")); err != nil {
		return nil, nil, err
	}
	if err := c.set(0); err != nil {
		return nil, nil, err
	}
	a, err := l.NewAgent("clocked", world.AgentOptions{Binary: teal, Env: []string{replay.ClockVariable + "=" + c.file.Name()}})
	return a, c, err
}

// timed are the walks with times that can be told from the machine's load.
func timed() []walk {
	release, rollback := walks[0], walks[1]
	release.service.Watch, release.service.Soak = watchFor, soakFor
	return []walk{release, rollback}
}

// throughTime makes a release, and sets the clock at each of its states.
func (l *lane) throughTime(ctx context.Context, w walk, c *clock, round int) error {
	c.wrong = nil
	if err := errors.Join(c.set(0), l.begin(w)); err != nil {
		return err
	}
	version, began, by := l.service.Version, time.Now(), time.Duration(0)
	done := make(chan error, 1)
	go func() {
		for i, state := range states {
			d, err := l.AwaitRelease(ctx, l.service.Name, version, func(d deployment.Deployment) bool {
				return d.Outcome != "" || slices.Index(states, d.State) >= i
			})
			if err != nil || d.Outcome != "" {
				done <- err
				return
			}
			if d.State != state {
				continue // not one of this walk's, or over already
			}
			by += jumps[(i+round)%len(jumps)]
			if err := c.set(by); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if err := w.orders(ctx, l, version); err != nil {
		return err
	}
	if err := l.comesTo(ctx, version, w.want); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	return l.sane(ctx, version, began, c)
}

// backInTime makes a release, sets the clock back by an hour when it comes to a
// state, kills the agent and starts it again.
func (l *lane) backInTime(ctx context.Context, a *world.Agent, c *clock, at deployment.State) error {
	c.wrong = nil
	w := timed()[0]
	if err := errors.Join(c.set(0), l.begin(w)); err != nil {
		return err
	}
	version, began := l.service.Version, time.Now()
	restart := func() error {
		if err := a.Kill(); err != nil {
			return err
		}
		if err := c.set(-time.Hour); err != nil {
			return err
		}
		return a.Start(ctx)
	}
	if at == deployment.Approving { // before it is given
		if err := errors.Join(l.passes(ctx, version, at), restart()); err != nil {
			return err
		}
	}
	if err := w.orders(ctx, l, version); err != nil {
		return err
	}
	if at != deployment.Approving {
		if err := errors.Join(l.passes(ctx, version, at), restart()); err != nil {
			return err
		}
	}
	if err := l.comesTo(ctx, version, w.want); err != nil {
		return err
	}
	return l.sane(ctx, version, began, c)
}

// sane holds the times on a release's record against the clocks: each is the
// machine's time at some moment of the release, wrong by one of the errors that
// the agent's clock had; and its watch and soak took what the policy says.
func (l *lane) sane(ctx context.Context, version string, began time.Time, c *clock) error {
	d, err := l.AwaitEnd(ctx, l.service.Name, version)
	if err != nil {
		return err
	}
	text, err := l.Value(ctx, l.Keys.Deployment(l.service.Name, d.ID))
	if err != nil {
		return err
	}
	var record any
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		return err
	}
	ended := time.Now()
	var errs []error
	times(record, func(at time.Time) {
		right := slices.ContainsFunc(c.wrong, func(by time.Duration) bool {
			then := at.Add(-by)
			// A policy's edit may be seen, and dated, right before it was written in full.
			return !then.Before(began.Add(-time.Second)) && !then.After(ended)
		})
		if !right {
			errs = append(errs, fmt.Errorf("the record says %s; it was made from %s to %s by a clock that was wrong by %v", at, began, ended, c.wrong))
		}
	})
	if d.Outcome != deployment.Succeeded {
		return errors.Join(errs...)
	}
	from := d.Cutover.Verified
	for _, v := range d.Verdicts {
		least := map[deployment.State]time.Duration{deployment.Watching: watchFor, deployment.Soaking: soakFor}[v.State]
		if took, ok := c.between(from, v.At, least); !ok {
			errs = append(errs, fmt.Errorf("%s took %s, want %s; by a clock that was wrong by %v", v.State, took, least, c.wrong))
		}
		from = v.At
	}
	if len(d.Verdicts) != 2 {
		errs = append(errs, fmt.Errorf("verdicts on record: %+v", d.Verdicts))
	}
	return errors.Join(errs...)
}

// between says whether from one moment on record to another it may have taken
// least, and not much longer, in a time in which the clock was set from any of
// its errors to any other. It gives what it took if the clock was not set.
func (c *clock) between(from, to time.Time, least time.Duration) (time.Duration, bool) {
	for _, before := range c.wrong {
		for _, after := range c.wrong {
			took := to.Add(-after).Sub(from.Add(-before))
			// Times on record are rounded to what JSON keeps of them.
			if took >= least-time.Millisecond && took < patience {
				return took, true
			}
		}
	}
	return to.Sub(from), false
}

// times finds all times in what was JSON.
func times(in any, each func(time.Time)) {
	switch in := in.(type) {
	case map[string]any:
		for _, v := range in {
			times(v, each)
		}
	case []any:
		for _, v := range in {
			times(v, each)
		}
	case string:
		if at, err := time.Parse(time.RFC3339Nano, in); err == nil {
			each(at)
		}
	}
}
