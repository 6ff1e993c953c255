package consul

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Without an index what is asked for is what there is, and no server that was
// deposed, or has only just come to lead, may say what was. An answer to a held
// query that is older than what its caller knows is worth nothing either.
func TestNothingOlderThanWhatIsKnown(t *testing.T) {
	var consistent, held int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		index := 7
		if r.URL.Query().Has("consistent") {
			consistent++
		} else {
			held++
			index = 6 // by a server that is behind
		}
		w.Header().Set("X-Consul-Index", fmt.Sprint(index))
		switch {
		case r.URL.Path == "/v1/status/leader":
			fmt.Fprint(w, `"127.0.0.1:8300"`)
		case index == 6:
			fmt.Fprint(w, `[]`)
		case r.URL.Path == "/v1/health/connect/api" || r.URL.Path == "/v1/health/service/api":
			fmt.Fprint(w, `[{"Node":{"Node":"n"},"Service":{"ID":"1","Service":"api"}}]`)
		default:
			fmt.Fprint(w, `[{"Key":"teal/k","ModifyIndex":7}]`)
		}
	}))
	t.Cleanup(server.Close)
	c := client(t, server.URL, time.Second)
	for what, read := range map[string]func(context.Context, uint64) (int, uint64, error){
		"a key": func(ctx context.Context, index uint64) (int, uint64, error) {
			pair, last, err := c.Get(ctx, "teal/k", index)
			if pair == nil {
				return 0, last, err
			}
			return 1, last, err
		},
		"keys": func(ctx context.Context, index uint64) (int, uint64, error) {
			pairs, last, err := c.List(ctx, "teal/", index)
			return len(pairs), last, err
		},
		"instances": func(ctx context.Context, index uint64) (int, uint64, error) {
			list, last, err := c.Instances(ctx, "api", index)
			return len(list), last, err
		},
		"instances as registered": func(ctx context.Context, index uint64) (int, uint64, error) {
			list, last, err := c.PlainInstances(ctx, "api", index)
			return len(list), last, err
		},
	} {
		for index, asked := range map[uint64][2]int{0: {1, 0}, 6: {0, 1}, 7: {1, 1}} {
			consistent, held = 0, 0
			n, last, err := read(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]int{consistent, held}; got != asked {
				t.Errorf("%s since %d: asked %d times in the consistent mode and %d times in the default mode, want %v", what, index, got[0], got[1], asked)
			}
			if want := uint64(6 + consistent); last != want || n != consistent {
				t.Errorf("%s since %d: %d at %d, want %d at %d", what, index, n, last, consistent, want)
			}
		}
	}
}
