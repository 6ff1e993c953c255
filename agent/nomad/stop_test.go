package nomad

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
		case r.Method == http.MethodPut && r.URL.Path == "/v1/jobs":
			writes.Add(1)
			job.Stop = ptr(true)
			evaluate()
		case strings.HasSuffix(r.URL.Path, "/submission"):
			http.Error(w, "not found", http.StatusNotFound)
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
		t.Errorf("second try: %d of %d groups, %d writes", stopped, len(allocs), writes.Load())
	}
}

// TestALateStopStopsNothing: a stop says as what it saw the job, and Nomad
// refuses it once the job is another. A deregistration says nothing of the kind.
func TestALateStopStopsNothing(t *testing.T) {
	job := testJob()
	job.Stop, job.JobModifyIndex = ptr(false), ptr(uint64(7))
	nomad := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/v1/jobs":
			var sent api.JobRegisterRequest
			if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || !sent.EnforceIndex || sent.JobModifyIndex != 7 || sent.Job.Stop == nil || !*sent.Job.Stop {
				t.Errorf("stopped with enforce_index %t of %d, stop %v: %v", sent.EnforceIndex, sent.JobModifyIndex, sent.Job.Stop, err)
			}
			// What Nomad says when somebody was faster.
			http.Error(w, "Enforcing job modify index 7: job exists with conflicting job modify index: 9", http.StatusInternalServerError)
		case r.Method != http.MethodGet:
			t.Errorf("%s %s", r.Method, r.URL.Path)
		case strings.HasSuffix(r.URL.Path, "/submission"):
			http.Error(w, "not found", http.StatusNotFound)
		default:
			_ = json.NewEncoder(w).Encode(job)
		}
	})
	if err := nomad.Stop(t.Context(), "shop", "api-green", false); !errors.Is(err, ErrConflict) {
		t.Errorf("a stop of what has changed: %v", err)
	}
}

// What is registered as stopped stops, whatever becomes of the question how far
// Nomad is with it: nobody may take the colour for one that was not asked to.
func TestAStopThatIsRegisteredIsUnderWay(t *testing.T) {
	job := testJob()
	job.Stop = ptr(false)
	spoil := map[string]func(http.ResponseWriter){
		"its evaluation cannot be read": func(w http.ResponseWriter) {
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		},
		"the connection breaks": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"nobody may read it":    func(w http.ResponseWriter) { http.Error(w, "Permission denied", http.StatusForbidden) },
	}
	for name, spoiled := range spoil {
		for _, before := range []bool{false, true} { // stopped by an earlier try
			job.Stop = &before
			nomad := answering(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPut && r.URL.Path == "/v1/jobs":
					_ = json.NewEncoder(w).Encode(map[string]any{"EvalID": "e", "JobModifyIndex": 5})
				case strings.HasSuffix(r.URL.Path, "/submission"):
					http.Error(w, "not found", http.StatusNotFound)
				case strings.HasPrefix(r.URL.Path, "/v1/evaluation/"), strings.HasSuffix(r.URL.Path, "/allocations"):
					spoiled(w)
				default:
					_ = json.NewEncoder(w).Encode(job)
				}
			})
			if err := nomad.Stop(t.Context(), "shop", "api-green", false); err == nil || !MayArrive(err) {
				t.Errorf("%s, stopped before %t: %v", name, before, err)
			}
		}
	}
}

// An evaluation that no scheduler deals with, or whose end nobody tells, is not
// waited for without a word.
func TestAStopThatIsNotEvaluatedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := testJob()
		job.Stop = ptr(false)
		nomad, err := NewOver(&api.Config{Address: "http://127.0.0.1"}, func(http.RoundTripper) http.RoundTripper {
			return answers(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Nomad-Index", "5")
				switch {
				case r.Method == http.MethodPut:
					_ = json.NewEncoder(w).Encode(map[string]any{"EvalID": "e-1", "JobModifyIndex": 5})
				case strings.HasSuffix(r.URL.Path, "/submission"):
					http.Error(w, "not found", http.StatusNotFound)
				case strings.HasPrefix(r.URL.Path, "/v1/evaluation/"):
					if r.URL.Query().Get("index") != "" {
						<-r.Context().Done()
					}
					_ = json.NewEncoder(w).Encode(api.Evaluation{ID: "e-1", Status: api.EvalStatusPending, ModifyIndex: 5})
				default:
					_ = json.NewEncoder(w).Encode(job)
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = nomad.Stop(t.Context(), "shop", "api-green", false)
		if took := time.Since(began); !errors.Is(err, ErrUnavailable) || !MayArrive(err) || took > requestTimeout+time.Second {
			t.Fatalf("after %s: %v", took, err)
		}
		if want := `stop job "api-green": nomad is unavailable: its evaluation e-1 is not dealt with after 30s; nomad eval status e-1 says more`; err.Error() != want {
			t.Errorf("it says: %s\nwant:    %s", err, want)
		}
	})
}

// answers is a Nomad without a network, for virtual time.
type answers http.HandlerFunc

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	a(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}
