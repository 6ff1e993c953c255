package nomad

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

// TestWatchSeesHowAJobEnded has a Nomad whose job is over while the watch's
// query for allocations still holds the answer of before: what the watch says
// of the end must be as new as the end.
func TestWatchSeesHowAJobEnded(t *testing.T) {
	job := testJob()
	job.Stop, job.Version, job.Status = ptr(false), ptr(uint64(0)), ptr("dead")
	job.TaskGroups = []*api.TaskGroup{{Name: ptr("suite"), Count: ptr(1)}}
	alloc := api.AllocationListStub{ID: "a", TaskGroup: "suite", DesiredStatus: "run", ClientStatus: "running"}
	nomad := answering(t, func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Has("index") {
			<-r.Context().Done() // nothing newer is told of
			return
		}
		w.Header().Set("X-Nomad-Index", "5")
		switch {
		case strings.HasSuffix(r.URL.Path, "/allocations"):
			now := alloc
			if !query.Has("wait") { // read now, not as the watch's query
				now.ClientStatus = "complete"
			}
			_ = json.NewEncoder(w).Encode([]api.AllocationListStub{now})
		case strings.HasSuffix(r.URL.Path, "/evaluations"):
			_, _ = w.Write([]byte("[]"))
		case strings.HasSuffix(r.URL.Path, "/deployment"):
			_, _ = w.Write([]byte("null"))
		default:
			_ = json.NewEncoder(w).Encode(job)
		}
	})
	err := nomad.WatchJob(t.Context(), "shop", "suite", func(s JobStatus) bool {
		if s.Over && s.Complete != 1 {
			t.Errorf("the job is over, and %d of its allocations came to a good end, %d run", s.Complete, s.Running)
		}
		return s.Over
	})
	if err != nil {
		t.Fatal(err)
	}
}
