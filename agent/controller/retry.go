package controller

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
)

// retry calls f until it succeeds, ctx ends, the term is lost, or f says that
// trying again cannot help (see final). It says what it waits for, once for
// each reason: a server that is away for long must not fill the log.
func retry(ctx context.Context, log hclog.Logger, what string, f func(context.Context) error) error {
	wait, said := retryFirst, ""
	for {
		err := f(ctx)
		if err == nil || lost(err) || isFinal(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if said != err.Error() {
			said = err.Error()
			log.Warn("trying again until it works", "to", what, "error", err)
		}
		if !pause(ctx, wait/2+rand.N(wait/2)) {
			return ctx.Err()
		}
		wait = min(wait*2, retryMost)
	}
}

// pause lets a backoff pass; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
