package agent

import (
	"context"
	"errors"
)

// nested runs all functions at once and ends them in the opposite order: each
// one's context ends when those after it have returned. An error of one ends
// all; nested returns when all have.
func nested(ctx context.Context, run ...func(context.Context) error) error {
	if len(run) == 0 {
		<-ctx.Done()
		return nil
	}
	outer, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	inner, stop := context.WithCancel(ctx)
	defer stop()
	result := make(chan error, 1)
	go func() {
		err := run[0](outer)
		stop() // whether it failed or not: the others need it
		result <- err
	}()
	err := nested(inner, run[1:]...)
	end()
	return errors.Join(err, <-result)
}
