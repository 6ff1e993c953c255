// Command faults hurts Teal on real servers: it kills agents before and after
// every write of a release and a rollback, freezes leaders past their lease,
// kills Consul's leader during cutovers and workers during handovers, takes
// Nomad away, cuts agents off, fills disks, sets clocks, wakes workers up late and
// has two agents make releases for an hour. Each time it asks for the same end and
// for no lost request. It prints a table and writes build/faults.json and
// build/jobs.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/faults"
	"github.com/tealdeploy/teal/testbed/world"
)

// extent says how much is done.
type extent struct {
	kills, lanes, frozen, failovers, cuts, clocks, handovers, leaderKills int

	pair      time.Duration
	seed      uint64
	only      string
	out, jobs string
	strict    bool
}

func main() {
	var x extent
	flag.StringVar(&x.out, "o", "build/faults.json", "`file` for the figures")
	flag.StringVar(&x.jobs, "jobs", "build/jobs.json", "`file` for those of the jobs")
	flag.IntVar(&x.kills, "kills", 0, "kills at most, evenly spread over the writes; 0: before and after every one")
	flag.IntVar(&x.lanes, "lanes", 2, "services killed at side by side")
	flag.IntVar(&x.frozen, "frozen", 8, "leaders frozen with a write in their hands")
	flag.IntVar(&x.failovers, "failovers", 40, "changes of leader measured, of each kind")
	flag.IntVar(&x.cuts, "cuts", 2, "leaders cut off from Consul")
	flag.IntVar(&x.clocks, "clocks", 4, "releases, and rollbacks, with the clock set at every state")
	flag.IntVar(&x.handovers, "handovers", 240, "handovers of jobs")
	flag.IntVar(&x.leaderKills, "leaders", 50, "of these with Consul's leader killed at the cutover's write")
	flag.DurationVar(&x.pair, "pair", time.Hour, "how long two agents make one release after another")
	flag.Uint64Var(&x.seed, "seed", 1, "of what is done to these two agents, and when")
	flag.StringVar(&x.only, "only", "", "do only the parts whose names match this `expression`")
	flag.BoolVar(&x.strict, "strict", false, "fail when a time is missed, too")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, x, os.Stdout)
	stop()
	world.RemoveBinaries()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, x extent, log io.Writer) (err error) {
	only, err := regexp.Compile(x.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	// One world for what hurts agents, one for what hurts servers.
	calm, err := world.Start(ctx, world.Options{Options: cluster.Options{Log: log}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, calm.Stop()) }()
	rough, err := world.Start(ctx, world.Options{Options: cluster.Options{ConsulServers: 3, ConsulClient: true}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rough.Stop()) }()

	r := faults.Report{
		Consul: calm.Consul[0].Binary.Version, Nomad: calm.Nomad.Binary.Version,
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Partial: x.only, Errors: []string{},
		Wanted: faults.Wanted{
			FrozenLeaders: x.frozen + x.frozen/2, Failovers: x.failovers, Handovers: x.handovers, LeaderKills: x.leaderKills,
			PairMinutes: math.Floor(x.pair.Minutes()*10) / 10, Away: faults.Absences,
		},
	}
	var jobs faults.Jobs
	var mu sync.Mutex
	// What a part found counts in any case.
	part := func(what string, do func() (take func(), err error)) {
		if !only.MatchString(what) {
			return
		}
		fmt.Fprintln(log, "begins:", what)
		take, err := do()
		mu.Lock()
		defer mu.Unlock()
		if take != nil {
			take()
		}
		if err != nil {
			r.Errors = append(r.Errors, fmt.Sprintf("%s: %v", what, err))
		}
		fmt.Fprintln(log, "over:", what)
	}
	// Times are measured while nothing else is going on.
	part("failover", func() (func(), error) {
		f, err := faults.MeasureFailover(ctx, calm, "failover", x.failovers, log)
		return func() { r.AddFailover(f) }, err
	})
	var together sync.WaitGroup
	together.Go(func() {
		part("kills", func() (func(), error) {
			k, err := faults.KillAnywhere(ctx, calm, "kill", x.kills, x.lanes, log)
			return func() { r.AddKills(k) }, err
		})
		part("frozen leaders", func() (func(), error) {
			f, err := faults.FreezeAnywhere(ctx, calm, "late", "", x.frozen, log)
			return func() { r.AddFrozen(f) }, err
		})
		part("leaders frozen at Nomad's door", func() (func(), error) {
			f, err := faults.FreezeAnywhere(ctx, calm, "door", "nomad", x.frozen/2, log)
			return func() { r.AddFrozen(f) }, err
		})
		part("cut off", func() (func(), error) {
			a, err := faults.CutOff(ctx, calm, "cut", x.cuts, log)
			return func() { r.AddAway(a) }, err
		})
		part("full disk", func() (func(), error) {
			a, err := faults.FullDisk(ctx, calm, "disk", log)
			return func() { r.AddAway(a) }, err
		})
		part("clock", func() (func(), error) {
			a, err := faults.SetClock(ctx, calm, "clock", x.clocks, log)
			return func() { r.AddAway(a) }, err
		})
	})
	together.Go(func() {
		part("handovers", func() (func(), error) {
			h, err := faults.HandOver(ctx, rough, "jobs", x.handovers, x.leaderKills, log)
			return func() { jobs = r.AddHandovers(h) }, err
		})
		part("Nomad away", func() (func(), error) {
			a, err := faults.NomadAway(ctx, rough, "away", log)
			return func() { r.AddAway(a) }, err
		})
		part("a worker that wakes up late", func() (func(), error) {
			f, err := faults.Overtake(ctx, rough, "fence", log)
			return func() { r.AddFenced(f) }, err
		})
	})
	together.Go(func() {
		part("pair", func() (func(), error) {
			p, err := faults.Twins(ctx, calm, "pair", x.pair, x.seed, log)
			return func() { r.AddPair(p) }, err
		})
	})
	together.Wait()
	r.Print(log, jobs)
	return errors.Join(faults.Save(x.out, r), faults.Save(x.jobs, jobs), r.Verdict(jobs, x.strict))
}
