package nomad

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// TestEveryGroupIsToldToStop has a Nomad like 1.11.0, whose evaluation of a
// stopped job stops one group only: Stop must not return before the last.
func TestEveryGroupIsToldToStop(t *testing.T) {
	allocs := []*api.AllocationListStub{}
	for _, group := range []string{"web", "worker", "cron"} {
		allocs = append(allocs, &api.AllocationListStub{TaskGroup: group, DesiredStatus: "run", ClientStatus: "running"})
	}
	stopped := 0
	var writes atomic.Int64
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("X-Nomad-Index", "5")
		_ = json.NewEncoder(w).Encode(v)
	}
	job := testJob()
	job.Stop = ptr(false)
	nomad := answering(t, func(w http.ResponseWriter, r *http.Request) {
		evaluate := func() {
			if stopped < len(allocs) {
				allocs[stopped].DesiredStatus = "stop"
				stopped++
			}
			answer(w, map[string]any{"EvalID": "e", "JobModifyIndex": 5})
		}
		switch {
		case r.Method == http.MethodDelete:
			writes.Add(1)
			job.Stop = ptr(true)
			evaluate()
		case strings.HasSuffix(r.URL.Path, "/evaluate"):
			evaluate()
		case strings.HasSuffix(r.URL.Path, "/allocations"):
			answer(w, allocs)
		case strings.HasPrefix(r.URL.Path, "/v1/evaluation/"):
			answer(w, api.Evaluation{ID: "e", Status: "complete"})
		default:
			answer(w, job)
		}
	})
	if err := nomad.Stop(t.Context(), "shop", "api-green", false); err != nil {
		t.Fatal(err)
	}
	if stopped != len(allocs) {
		t.Errorf("%d of %d groups were told to stop", stopped, len(allocs))
	}
	// Interrupted after the write: the next try finishes without another.
	stopped = 1
	allocs[1].DesiredStatus, allocs[2].DesiredStatus = "run", "run"
	if err := nomad.Stop(t.Context(), "shop", "api-green", false); err != nil {
		t.Fatal(err)
	}
	if stopped != len(allocs) || writes.Load() != 1 {
		t.Errorf("second try: %d of %d groups, %d deregistrations", stopped, len(allocs), writes.Load())
	}
}
