package faults

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/testbed/world"
)

// Kills is the agent killed at the writes of every walk.
type Kills struct {
	Writes int    // found in the undisturbed walks
	Kills  []Kill // one for each write and moment that was tried
}

// job is one kill that is to be tried.
type job struct {
	walk   walk
	point  Point
	moment Moment
}

// tries is how often a write is waited for that may not come in every run, as one
// that says what the agent says of itself.
const tries = 3

// KillAnywhere finds every write of each walk and kills the agent before and
// after it, or at most of them evenly spread, on so many services side by
// side. A lane that did not converge is replaced by a new one.
func KillAnywhere(ctx context.Context, w *world.World, name string, most, lanes int, log io.Writer) (Kills, error) {
	var found Kills
	var jobs []job
	scout, err := newLane(ctx, w, name+"-0", world.Service{}, log)
	if err != nil {
		return found, err
	}
	for _, walk := range walks {
		points, err := scout.undisturbed(ctx, walk)
		if err != nil {
			scout.Site.Logs(log, 60)
			return found, fmt.Errorf("%s, undisturbed: %w", walk.name, err)
		}
		fmt.Fprintf(log, "%s: %d writes\n", walk.name, len(points))
		found.Writes += len(points)
		for _, p := range points {
			jobs = append(jobs, job{walk, p, Before}, job{walk, p, After})
		}
	}
	jobs = spread(jobs, most)

	queue := make(chan job)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for _, j := range jobs {
			select {
			case queue <- j:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	var mu sync.Mutex
	began := time.Now()
	for i := range lanes {
		group.Go(func() error {
			l, made := scout, 0
			if i > 0 {
				l = nil
			}
			for j := range queue {
				if l == nil {
					var err error
					if l, err = newLane(ctx, w, fmt.Sprintf("%s-%d-%d", name, i, made), world.Service{}, log); err != nil {
						return err
					}
					made++
				}
				k := l.crash(ctx, j.walk, j.point, j.moment)
				for more := tries - 1; more > 0 && !k.Hit && k.Broken == ""; more-- {
					k = l.crash(ctx, j.walk, j.point, j.moment)
				}
				mu.Lock()
				found.Kills = append(found.Kills, k)
				n := len(found.Kills)
				mu.Unlock()
				if n%10 == 0 {
					fmt.Fprintf(log, "%d of %d kills, %s\n", n, len(jobs), round(began))
				}
				if k.Broken != "" {
					fmt.Fprintf(log, "BROKEN: %s, killed %s %s: %s\n", k.Walk, k.Moment, k.Write, k.Broken)
					l.Site.Logs(log, 30)
					if err := l.close(); err != nil {
						fmt.Fprintf(log, "its service: %v\n", err)
					}
					l = nil
				}
			}
			if l == nil {
				return nil
			}
			return l.close()
		})
	}
	return found, group.Wait()
}

// spread takes at most so many kills, evenly spread, before and after in turn;
// 0 takes all.
func spread(all []job, most int) []job {
	if most <= 0 || most >= len(all) {
		return all
	}
	var some []job
	for i := range most {
		at := i * len(all) / most
		some = append(some, all[at-at%2+i%2]) // they come in pairs
	}
	return some
}
