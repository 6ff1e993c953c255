package e2e

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/world"
)

// Exit codes are what CI goes by.
func TestExitCodes(t *testing.T) {
	s := open(t, "codes")
	v := world.Service{Name: "codes", Version: "1.0.0", Manual: true, Gates: smoke}
	s.write(v)

	// Nobody leads: the command is withdrawn, so that nobody obeys it later.
	s.says(s.teal(4, "deploy", "-timeout", "1s", "codes").Err, "no agent")
	if left, err := s.Value(s.soon(), s.Keys.Command("codes", "deploy")); err != nil || left != "" {
		t.Errorf("the command was left behind: %q, %v", left, err)
	}
	s.says(s.teal(4, "status", "-http-addr", "127.0.0.1:1").Err, "127.0.0.1:1")
	s.teal(1, "deploy")
	s.teal(1, "deploy", "-no-such-flag", "codes")
	s.says(s.teal(1, "depoly").Err, "deploy")

	a := s.agent("a")
	s.leads(a)
	ran := s.teal(0, "deploy", "codes")
	s.says(ran.Out, "1.0.0", "live")
	c := s.calls("codes", world.TrafficOptions{})

	// Nothing to release: refused, with the reason.
	s.teal(2, "approve", "codes")
	s.says(s.teal(2, "rollback", "codes").Err, "back")

	// CI gives a version; the policy stays as it is. What is done is told as it goes on.
	ran = s.teal(0, "deploy", "codes", "-var", "version=2.0.0", "-until", "cutover")
	s.says(ran.Out, "2.0.0", "codes  launching", "codes  gate http smoke: pass: ", "codes  cutover to ")
	d := s.ends("codes", "2.0.0", deployment.Succeeded)
	c.serves(d.To)

	// A failing release ends with 3 and says why.
	ran = s.teal(3, "deploy", "codes", "-var", "version=3.0.0", "-var", "fault=errors")
	s.says(ran.Out+ran.Err, "3.0.0", "smoke")

	// -detach returns at once, -wait stops following.
	v.Approval = "required = true"
	s.reread(a, func() { s.write(v) })
	ran = s.teal(5, "deploy", "codes", "-var", "version=4.0.0", "-var", "fault=", "-wait", "3s")
	s.says(ran.Err, "goes on")
	s.comes("codes", "4.0.0", deployment.Approving)
	s.teal(0, "abort", "codes")
	s.ends("codes", "4.0.0", deployment.Aborted)
	ran = s.teal(0, "deploy", "-detach", "-json", "codes", "-var", "version=5.0.0")
	s.says(ran.Out, `"accepted": true`)
	s.comes("codes", "5.0.0", deployment.Approving)
	s.teal(0, "approve", "codes")
	d = s.ends("codes", "5.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("5.0.0", 20)
	if n := c.unharmed(); n.Versions["3.0.0"]+n.Versions["4.0.0"] != 0 {
		t.Errorf("a version that failed, or was aborted, served: %s", n)
	}
}

// plan says what a release would change, and changes nothing.
func TestPlanChangesNothing(t *testing.T) {
	s := open(t, "plan")
	v := world.Service{Name: "plan", Version: "1.0.0", Manual: true}
	s.write(v)
	s.leads(s.agent("a"))
	s.teal(0, "deploy", "plan", "-until", "done")
	before, err := s.Value(s.soon(), s.Keys.State("plan"))
	s.must(err)
	index := s.router("plan").ModifyIndex
	ran := s.teal(0, "plan", "plan", "-var", "version=2.0.0")
	s.says(ran.Out, "2.0.0", "plan-green")
	after, err := s.Value(s.soon(), s.Keys.State("plan"))
	s.must(err)
	if before != after || s.router("plan").ModifyIndex != index {
		t.Errorf("plan changed something: record\n%s\nbecame\n%s", before, after)
	}
	if job, err := s.Job(s.soon(), "plan-green"); err != nil || job != nil {
		t.Errorf("plan registered a job: %v", err)
	}
	s.remains("after plan", time.Second, func() error { return s.idle("plan") })
}
