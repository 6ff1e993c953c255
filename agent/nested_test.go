package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestNestedEndsInTheOppositeOrder(t *testing.T) {
	var ended []string
	part := func(name string, fails error) func(context.Context) error {
		return func(ctx context.Context) error {
			if fails == nil {
				<-ctx.Done()
			}
			ended = append(ended, name)
			return fails
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := nested(ctx, part("a", nil), part("b", nil), part("c", nil)); err != nil || strings.Join(ended, "") != "cba" {
		t.Errorf("%v, %v", ended, err)
	}
	// One that fails takes all along.
	broken := errors.New("broken")
	for want, parts := range map[string][]func(context.Context) error{
		"cba": {part("a", nil), part("b", nil), part("c", broken)},
		"bca": {part("a", nil), part("b", broken), part("c", nil)},
		"acb": {part("a", broken), part("b", nil), part("c", nil)},
	} {
		ended = nil
		if err := nested(t.Context(), parts...); !errors.Is(err, broken) || strings.Join(ended, "") != want {
			t.Errorf("%v, %v; want %s", ended, err, want)
		}
	}
}
