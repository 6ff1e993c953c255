package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/audit"
)

// ignored is a meter that nobody reads.
type ignored struct{}

func (ignored) AuditWritten(int)  {}
func (ignored) AuditLost(int)     {}
func (ignored) AuditFailing(bool) {}

// audited writes an audit file of eight lines as an agent does.
func audited(t *testing.T, path string) audit.Head {
	t.Helper()
	l := audit.New(audit.Config{Path: path, Agent: "teal-1", Meter: ignored{}, Log: hclog.NewNullLogger()})
	for n := range 6 {
		l.Append(audit.Entry{At: time.Now(), Kind: "note", Reason: fmt.Sprint("event ", n)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	for head, _, changed := l.Now(); head.Seq < 7; head, _, changed = l.Now() {
		<-changed
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	head, _, _ := l.Now()
	return head
}

func TestAuditVerify(t *testing.T) {
	f := newFakeConsul(t)
	path := filepath.Join(t.TempDir(), "audit.log")
	head := audited(t, path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := fmt.Sprintf("%d:%s", head.Seq, head.Hash)
	teal(t, "audit", "verify", path).want(t, exitOK, "Whole: 8 lines, the last is "+last, "")
	teal(t, "audit", "verify", path, "-head", last).want(t, exitOK, "Whole", "")
	other := fmt.Sprintf("%d:%s", head.Seq, audit.Origin)
	teal(t, "audit", "verify", path, "-head", other).want(t, exitFailed, "BROKEN", "broken in 1 place")

	// Against what the agent noted in Consul.
	teal(t, "audit", "verify", path, "-agent", "teal-1").want(t, exitError, "", "there is no key teal/audit/teal-1")
	f.put(testKeys.Audit("teal-1"), fmt.Sprintf(`{"name":"teal-1","seq":%d,"hash":%q}`, head.Seq, head.Hash))
	teal(t, "audit", "verify", path, "-agent", "teal-1").want(t, exitOK, "Whole", "")
	f.put(testKeys.Audit("teal-1"), fmt.Sprintf(`{"name":"teal-1","seq":%d,"hash":%q}`, head.Seq+5, head.Hash))
	teal(t, "audit", "verify", path, "-agent", "teal-1").want(t, exitFailed, "line 13 is not, or is no longer", "broken")
	f.put(testKeys.Audit("teal-1"), "nonsense")
	teal(t, "audit", "verify", path, "-agent", "teal-1").want(t, exitError, "", "names no line")

	if err := os.WriteFile(path, bytes.Replace(text, []byte("event 3"), []byte("event 8"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	r := teal(t, "audit", "verify", path)
	r.want(t, exitFailed, "BROKEN "+path+":5: changed: line 5 does not match its own sum", "the chain is broken in 1 place")
	var v struct {
		Intact   bool
		Findings []audit.Finding
	}
	r = teal(t, "audit", "verify", "-json", path)
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.code != exitFailed || v.Intact || len(v.Findings) != 1 || v.Findings[0].Line != 5 {
		t.Errorf("%d %+v %v", r.code, v, err)
	}

	teal(t, "audit", "verify", filepath.Join(filepath.Dir(path), "nosuch")).want(t, exitError, "", "nosuch cannot be read")
	teal(t, "audit", "verify").want(t, exitError, "", "an argument is missing")
	teal(t, "audit", "verify", path, "-head", "x").want(t, exitError, "", "expected the number of a line")
	teal(t, "audit", "verify", path, "-head", last, "-agent", "a").want(t, exitError, "", "give one of them")
	if r := teal(t, "audit"); !strings.Contains(r.out+r.err, "verify") || r.code == exitOK {
		t.Errorf("%d %s%s", r.code, r.out, r.err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	teal(t, "audit", "verify", empty).want(t, exitOK, "There is nothing in it.", "")
}
