package cli

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// FuzzScreen: whatever agents say of themselves, whatever a record holds and a
// command brings, reading it ends, and what is shown is printable text on
// lines of its own: nobody moves an operator's cursor through a key.
func FuzzScreen(f *testing.F) {
	record := `{"name":"api","active":"blue","managed":true,"slots":{"blue":{"job":"api-blue","version":"1"}},"deployment":{"id":"d","state":"watching","from":"blue","to":"green","candidate":{"version":"2"},"log":[{"by":"a","what":"b"}]}}`
	for _, seed := range [][4]string{
		{"api", `{"name":"a1","policies":"x","count":2,"errors":["api.hcl:3"]}`, record, `{"by":"x"}`},
		{"api", `{"name":"a\u001b[2J","address":"\u0007","version":"\u009b1m","errors":["a\nb"]}`, strings.ReplaceAll(record, `"1"`, `"\u001b]0;x\u0007"`), "\x1b[2J"},
		{"\x1b[2J", `{}`, `{"name":"\u001b[2J","held":{"by":"\u001b","reason":"\u001b[1A\r"},"problem":{"reason":"\u0000"},"queued":{}}`, `{"by":"\u001b[2J"}`},
		{"api", `null`, `{"active":"\u001b[2J","slots":{"purple":{}},"jobs":{"owner":"\u001b["},"finished":["\u001b[2J"]}`, `{`},
		{"api", `[]`, `{"deployment":{"state":"done","to":"\u001b[2J","gates":[{"name":"\u001b","figures":{"\u001b":"\u001b"}}],"log":[{"what":"\u001b[2J","figures":{"\u001b":"\u001b"}}]}}`, ``},
	} {
		f.Add(seed[0], []byte(seed[1]), []byte(seed[2]), []byte(seed[3]))
	}
	f.Fuzz(func(t *testing.T, name string, info, record, command []byte) {
		screen := newTerminal(io.Discard, io.Discard)
		screen.now, screen.zone = func() time.Time { return time.Unix(1e9, 0) }, time.UTC
		var a kv.AgentInfo
		var audit kv.AuditHead
		_ = json.Unmarshal(info, &a) // what cannot be read is as good as any
		_ = json.Unmarshal(info, &audit)
		line := api.Service{Name: name, State: api.Unreadable}
		rec, err := deployment.Decode(name, record)
		if err != nil {
			line.Error = err.Error()
		} else {
			line = api.Summarise(rec)
		}
		c, _ := kv.ParseCommand(command)
		var shown []string
		status := api.NewStatus(safe(a.Name), []kv.AgentInfo{a}, []api.Service{line})
		status.Audit = []kv.AuditHead{audit}
		shown = append(shown, screen.overview(status)...)
		if err == nil && safe(name) == name { // the operator's own argument
			shown = append(shown, screen.portrait(detail{Record: rec, Pending: []pending{{Verb: "deploy", By: safe(c.By)}}})...)
		}
		for _, text := range shown {
			for _, r := range text {
				if unicode.IsControl(r) {
					t.Fatalf("%q is shown", text)
				}
			}
		}
	})
}
