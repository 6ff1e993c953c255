package cluster

import (
	"context"
	"fmt"
	"time"
)

// Await asks until the answer is no error, or ctx ends; then it gives the
// last error. One question takes two seconds at most. It is for waiting on a
// state that cannot be watched.
func Await(ctx context.Context, ask func(context.Context) error) error {
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := ask(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-again.C:
		}
	}
}
