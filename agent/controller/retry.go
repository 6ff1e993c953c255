package controller

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
)

// retry calls f until it succeeds, ctx ends, the term is lost, or f says that
// trying again cannot help (see final). It says what it waits for.
func retry(ctx context.Context, log hclog.Logger, what string, f func(context.Context) error) error {
	wait := retryFirst
	for {
		err := f(ctx)
		if err == nil || lost(err) || isFinal(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Warn("trying again", "to", what, "in", wait.String(), "error", err)
		if !pause(ctx, wait/2+rand.N(wait/2)) {
			return ctx.Err()
		}
		wait = min(wait*2, retryMost)
	}
}

// pause lets a backoff pass; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
