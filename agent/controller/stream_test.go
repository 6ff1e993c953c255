package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/nomad"
)

// streamer is a Nomad whose streams are open for a while and then end.
type streamer struct {
	Nomad
	open func() time.Duration
}

func (s streamer) Stream(ctx context.Context, _ uint64, _ func(nomad.Event)) error {
	select {
	case <-time.After(s.open()):
		return errors.New("ACL token expired")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A token of Nomad's ends every hour, and the stream with it: that is no news to
// an operator. That no stream comes about is, once.
func TestTheEndOfAStreamIsNoNews(t *testing.T) {
	for _, c := range []struct {
		open time.Duration
		told int
	}{{time.Hour, 0}, {0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			streams := 0
			nomad := streamer{open: func() time.Duration { streams++; return c.open }}
			tenure := &tenure{c: &Controller{cfg: Config{
				Nomad: func(string) Nomad { return nomad }, Log: hclog.New(&hclog.LoggerOptions{Output: &log}),
			}}}
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			if err := tenure.watchJobs(ctx); err != nil {
				t.Error(err)
			}
			if n := strings.Count(log.String(), "are not noticed"); n != c.told || streams < 24 {
				t.Errorf("told %d times of %d streams of %s each, want %d:\n%s", n, streams, c.open, c.told, &log)
			}
		})
	}
}
