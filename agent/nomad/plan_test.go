package nomad

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
)

func TestDiffText(t *testing.T) {
	field := func(kind, name, old, now string) *api.FieldDiff {
		return &api.FieldDiff{Type: kind, Name: name, Old: old, New: now}
	}
	d := &api.JobDiff{Type: "Edited", ID: "api-green",
		Fields: []*api.FieldDiff{field("None", "Priority", "50", "50"), field("Edited", "Meta[teal_epoch]", "1", "2")},
		TaskGroups: []*api.TaskGroupDiff{
			{Type: "Edited", Name: "web",
				Objects: []*api.ObjectDiff{{Type: "Edited", Name: "Scaling"}},
				Tasks: []*api.TaskDiff{{Type: "Edited", Name: "server", Objects: []*api.ObjectDiff{
					{Type: "Edited", Name: "Config", Fields: []*api.FieldDiff{field("Edited", "image", "api:1", "api:2")}},
					{Type: "Added", Name: "Template", Fields: []*api.FieldDiff{field("Added", "DestPath", "", "local/x")}},
				}}}},
			{Type: "Edited", Name: "same", Objects: []*api.ObjectDiff{{Type: "Edited", Name: "Scaling"}}},
			{Type: "Deleted", Name: "old"},
		}}
	want := `~ job "api-green"
  ~ Meta[teal_epoch]: "1" => "2"
  ~ group "web"
    ~ task "server"
      ~ Config
        ~ image: "api:1" => "api:2"
      + Template
        + DestPath: "local/x"
  - group "old"
`
	if got := diffText(d); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Nomad's plan of an untouched job with a scaling block says that it edits
// the block, without a value that changes.
func TestAnEditWithoutAValueIsNone(t *testing.T) {
	d := &api.JobDiff{Type: "Edited", ID: "api", TaskGroups: []*api.TaskGroupDiff{
		{Type: "Edited", Name: "web", Objects: []*api.ObjectDiff{{Type: "Edited", Name: "Scaling"}}}}}
	if got := diffText(d); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

// Nomad's plan of an untouched Connect-native job says that it takes from the
// check of its service the task that its server had given to it.
func TestTheServersOwnAdditionIsNoEdit(t *testing.T) {
	check := &api.ObjectDiff{Type: "Edited", Name: "Check", Fields: []*api.FieldDiff{{Type: "Deleted", Name: "TaskName", Old: "api"}}}
	d := &api.JobDiff{Type: "Edited", ID: "api", TaskGroups: []*api.TaskGroupDiff{
		{Type: "Edited", Name: "web", Objects: []*api.ObjectDiff{{Type: "Edited", Name: "Service", Objects: []*api.ObjectDiff{check}}}}}}
	if got := diffText(d); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
	check.Fields = append(check.Fields, &api.FieldDiff{Type: "Edited", Name: "Path", Old: "/health", New: "/ready"})
	if got := diffText(d); !strings.Contains(got, "/ready") || strings.Contains(got, "TaskName") {
		t.Errorf("got %q, want the path only", got)
	}
}

func TestWarningsAreTakenApart(t *testing.T) {
	got := warnings("2 warnings:\n\n* Group \"web\" has warnings: 1 error occurred:\n* port is deprecated\n")
	if len(got) != 2 || got[1] != "port is deprecated" {
		t.Errorf("got %q", got)
	}
}

// TestPlanForAWorkload has a Nomad like 1.11.0, which looks the token of a plan
// up among its ACL tokens and fails for a workload's identity, even where ACLs
// are off. Where they are on, nothing but an ACL token will do, and the error
// says so.
func TestPlanForAWorkload(t *testing.T) {
	const identity = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
	for _, acls := range []bool{false, true} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch token := r.Header.Get("X-Nomad-Token"); {
			case token == identity:
				http.Error(w, "acl token lookup failed: index error: UUID must be 36 characters", http.StatusInternalServerError)
			case token == "" || acls:
				http.Error(w, "Forbidden", http.StatusForbidden)
			default:
				_, _ = w.Write([]byte(`{"JobModifyIndex": 7}`))
			}
		}))
		defer server.Close()
		c, err := New(&api.Config{Address: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		c = c.WithToken(func() string { return identity })
		plan, err := c.Plan(t.Context(), api.NewServiceJob("api-green", "api", "global", 50))
		switch {
		case !acls && (err != nil || plan.Index != 7):
			t.Errorf("with ACLs off: %+v, %v", plan, err)
		case acls && (!errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "ACL token")):
			t.Errorf("with ACLs on: %+v, %v", plan, err)
		}
	}
}
