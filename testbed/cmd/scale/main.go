// Command scale measures what an agent costs with 1 to 10,000 idle services,
// how soon it then acts, and 50 releases at once. It prints a table and writes
// build/scale.json. See testbed/scale.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tealdeploy/teal/testbed/scale"
	"github.com/tealdeploy/teal/testbed/world"
)

func main() {
	out := flag.String("o", "build/scale.json", "`file` for the figures")
	sizes := flag.String("sizes", "1,100,1000,10000", "numbers of policies, growing")
	idle := flag.Duration("idle", 5*time.Minute, "how long an idle agent is looked at")
	shorter := flag.Duration("idle-smaller", 0, "the same with all numbers but the largest; 0: as long")
	samples := flag.Int("n", 50, "commands measured with each number; half as many cutovers, a tenth of each other kind")
	releases := flag.Int("releases", 50, "releases at once, among the largest number; 0: none")
	strict := flag.Bool("strict", false, "fail when a goal is missed")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, *out, *sizes, scale.Options{Idle: *idle, Shorter: *shorter, Samples: *samples, Releases: *releases, Log: os.Stdout}, *strict)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, sizes string, o scale.Options, strict bool) error {
	defer world.RemoveBinaries()
	for _, text := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || len(o.Sizes) > 0 && n <= o.Sizes[len(o.Sizes)-1] {
			return fmt.Errorf("-sizes %s: expected growing numbers", sizes)
		}
		o.Sizes = append(o.Sizes, n)
	}
	r, err := scale.Run(ctx, o)
	if len(r.Sizes) == 0 {
		return err
	}
	r.Print(os.Stdout)
	err = errors.Join(err, r.Save(out))
	for _, g := range r.Goals {
		if strict && !g.Met {
			err = errors.Join(err, fmt.Errorf("missed: %s", g.What))
		}
	}
	return err
}
