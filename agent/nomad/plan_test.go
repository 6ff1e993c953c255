package nomad

import (
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

func TestWarningsAreTakenApart(t *testing.T) {
	got := warnings("2 warnings:\n\n* Group \"web\" has warnings: 1 error occurred:\n* port is deprecated\n")
	if len(got) != 2 || got[1] != "port is deprecated" {
		t.Errorf("got %q", got)
	}
}
