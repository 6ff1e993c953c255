package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/jobspec"
	"github.com/tealdeploy/teal/testbed/world"
)

// another is a second group, with a service of the mesh and a plain one of its
// task's.
const another = `
  group "back" {
    network {
      mode = "host"
      port "http" {}
    }

    service {
      name = "many-back"
      port = "http"
      meta {
        owner = "shop"
      }
      connect {
        native = true
      }
    }

    task "back" {
      driver = "raw_exec"
      config {
        command = var.app
      }
      service {
        name = "many-plain"
        port = "http"
      }
      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
`

// A job of several groups, with services of groups and of tasks, in the mesh
// and not, that lives in a namespace which only the environment names: it is
// found there, and so are its colours. Each of its services, not only the
// routed one, says its colour.
func TestJobOfManyGroupsInANamespace(t *testing.T) {
	s := open(t, "many")
	s.http("many")
	_, err := s.NomadClient().Namespaces().Register(&nomadapi.Namespace{Name: "team-many"}, nil)
	s.must(err)
	in := &nomadapi.QueryOptions{Namespace: "team-many"}
	t.Cleanup(func() {
		jobs, _, err := s.NomadClient().Jobs().List(in)
		if err != nil {
			t.Error(err)
		}
		for _, job := range jobs {
			if _, _, err := s.NomadClient().Jobs().Deregister(job.ID, false, &nomadapi.WriteOptions{Namespace: job.Namespace}); err != nil {
				t.Error(err)
			}
		}
	})
	text, err := s.APIJobspec("many")
	s.must(err)
	text = strings.TrimSuffix(strings.TrimSpace(text), "}") + another
	v := world.Service{Name: "many", Version: "1.0.0", Jobspec: text, Vars: map[string]string{"count": "2"}}
	s.must(s.WriteFile("plain/many.nomad.hcl", text))
	ran, err := s.NomadCLI(s.soon(), "job", "run", "-detach", "-namespace", "team-many",
		"-var", "version=1.0.0", "-var", "app="+s.App, filepath.Join(s.Dir, "plain", "many.nomad.hcl"))
	s.must(err)
	if ran.Code != 0 {
		t.Fatal(ran)
	}
	s.must(s.AwaitInstances(s.soon(), "many", func(all []world.Instance) bool { return world.Passing(all, "") == 2 }))
	c := s.calls("many", world.TrafficOptions{Uncoloured: "blue"})

	s.write(v)
	s.agentWith("a", world.AgentOptions{Env: []string{"NOMAD_NAMESPACE=team-many"}})
	rec := s.record("many", "that it is adopted", func(r deployment.Service) bool { return r.Managed && r.Route.Prepared })
	if slot := rec.Slots[deployment.Blue]; !slot.Adopted || slot.Namespace != "team-many" || slot.Version != "1.0.0" || rec.InFlight() {
		t.Errorf("adopted as %+v, in flight %t", slot, rec.InFlight())
	}
	plan := s.teal(0, "plan", "many", "-var", "version=2.0.0").Out
	s.says(plan, "many-green", `service "many-back"`, `service "many-plain"`)

	v.Version, v.Then = "2.0.0", "stop"
	s.write(v)
	d := s.ends("many", "2.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("2.0.0", 20)
	c.unharmed()
	for _, service := range []string{"many", "many-back", "many-plain"} {
		s.must(s.AwaitInstances(s.soon(), service, func(all []world.Instance) bool {
			for _, i := range all {
				if i.Colour != "green" {
					return false
				}
			}
			return len(all) > 0
		}))
	}
	entries, _, err := s.ConsulClient().Health().Connect("many-back", "", false, (&consulapi.QueryOptions{}).WithContext(s.soon()))
	s.must(err)
	if len(entries) != 1 || entries[0].Service.Meta["owner"] != "shop" {
		t.Errorf("the meta of its own that a service had is gone: %+v", entries)
	}

	green, _, err := s.NomadClient().Jobs().Info("many-green", in)
	s.must(err)
	if green.Meta[jobspec.MetaService] != "many" || green.Meta[jobspec.MetaColour] != "green" || len(green.TaskGroups) != 2 {
		t.Errorf("the job of green has the meta %v and %d groups", green.Meta, len(green.TaskGroups))
	}
	for _, g := range green.TaskGroups {
		if env := g.Tasks[0].Env; env[jobspec.EnvColour] != "green" || env[jobspec.EnvVersion] != "2.0.0" {
			t.Errorf("the environment of %s is %v", *g.Name, env)
		}
	}
	if plain, _, err := s.NomadClient().Jobs().Info("many", in); err != nil || !*plain.Stop {
		t.Errorf("the adopted job is not stopped after the soak: %v", err)
	}
	if all, _, err := s.NomadClient().Jobs().PrefixList("many"); err != nil || len(all) != 0 {
		t.Errorf("in the default namespace are %d jobs, %v", len(all), err)
	}
}

// What has no colours, or could not run in two, is refused with the reason
// before anything is written, all reasons at once.
func TestJobsWithoutColours(t *testing.T) {
	s := open(t, "uncoloured")
	s.leads(s.agent("a"))
	volume := `count = var.count
    volume "data" {
      type            = "csi"
      source          = "data"
      access_mode     = "single-node-writer"
      attachment_mode = "file-system"
    }`
	for _, no := range []struct {
		name, old, new string
		words          []string
	}{
		{"system", `type = "service"`, `type = "system"`, []string{"type is system", "no second copy"}},
		{"batch", `type = "service"`, `type = "batch"`, []string{"type is batch", "no traffic to switch"}},
		{"periodic", `type = "service"`, "type = \"batch\"\n  periodic {\n    crons = [\"@daily\"]\n  }", []string{"type is batch", "periodic", "no colours"}},
		{"volume", "count = var.count", volume, []string{`volume "data"`, "only one colour"}},
		{"no-mesh", "connect {\n        native = true\n      }", "", []string{"not in the service mesh", "connect"}},
		{"other-name", `name = "uncoloured-other-name"`, `name = "somebody"`, []string{"does not register it", "somebody"}},
	} {
		t.Run(no.name, func(t *testing.T) {
			s := &stage{s.Site, t}
			v := world.Service{Name: "uncoloured-" + no.name, Version: "1.0.0", Vars: map[string]string{"count": "2"}}
			good, err := s.APIJobspec(v.Name)
			s.must(err)
			if v.Jobspec = replaced(good, no.old, no.new); v.Jobspec == good {
				t.Fatal("the jobspec was not spoiled")
			}
			s.write(v)
			rec := s.record(v.Name, "what is wrong", func(r deployment.Service) bool { return r.Problem != nil })
			s.says(rec.Problem.Reason, append(no.words, v.Name)...)
			s.says(s.teal(2, "plan", v.Name).Err, no.words...)
			s.says(s.teal(2, "deploy", v.Name).Err, no.words...)
			for _, colour := range deployment.Colours {
				if job, err := s.Job(context.Background(), jobspec.ColouredID(v.Name, colour)); err != nil || job != nil {
					t.Errorf("a job was registered: %v", err)
				}
			}
			if entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, v.Name, nil); err == nil {
				t.Errorf("a router was written: %+v", entry)
			}
		})
	}
}
