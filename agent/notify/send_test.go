package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// receivers decodes notify blocks that stand in a file of a folder.
func receivers(t *testing.T, dir, text string) ([]Receiver, hcl.Diagnostics) {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), filepath.Join(dir, "config.hcl"), hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "notify", LabelNames: []string{"kind", "name"}}}})
	var out []Receiver
	for _, block := range content.Blocks {
		r, more := Decode(block, nil)
		out, diags = append(out, r), append(diags, more...)
	}
	return out, diags
}

// one decodes a block that is right.
func one(t *testing.T, dir, text string) Receiver {
	t.Helper()
	rs, diags := receivers(t, dir, text)
	if len(rs) != 1 || len(diags) > 0 {
		t.Fatalf("%d receivers, %v", len(rs), diags)
	}
	return rs[0]
}

// place is a server that remembers what it was sent.
type place struct {
	*httptest.Server
	mu     sync.Mutex
	got    []got
	answer func(w http.ResponseWriter, r *http.Request, body string)
}

type got struct {
	path   string
	header http.Header
	body   string
}

func open(t *testing.T) *place {
	p := &place{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.got = append(p.got, got{r.URL.String(), r.Header, string(body)})
		answer := p.answer
		p.mu.Unlock()
		if answer != nil {
			answer(w, r, string(body))
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *place) last() got {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.got) == 0 {
		return got{}
	}
	return p.got[len(p.got)-1]
}

func (p *place) host() string { return strings.TrimPrefix(p.URL, "http://") }

var bad = Notice{ID: "d7.rolled-back.1", At: noon, Event: RolledBack, Severity: Critical, Service: "api", Deployment: "d7",
	Version: "2.0.0", FromVersion: "1.0.0", Active: "blue", By: "teal", Reason: "12 % of requests failed", Incident: Rollback}

var good = Notice{ID: "d8.succeeded.1", At: noon.Add(time.Hour), Event: Succeeded, Severity: Info, Service: "api", Deployment: "d8",
	Version: "2.0.1", By: "teal", Incident: Rollback, Ends: true}

func send(t *testing.T, r Receiver, n Notice) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return r.Sender.Send(ctx, n)
}

func decoded(t *testing.T, body string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

func TestWebhook(t *testing.T) {
	p, dir := open(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := one(t, dir, fmt.Sprintf("notify \"webhook\" \"w\" {\n url = %q\n bearer_token_file = \"token\"\n headers = { \"X-Team\" = \"one\" }\n}", p.URL+"/hook?a=b"))
	if err := send(t, r, bad); err != nil {
		t.Fatal(err)
	}
	g := p.last()
	var n struct {
		Notice
		Title, Text string
	}
	decoded(t, g.body, &n)
	if g.path != "/hook?a=b" || g.header.Get("Authorization") != "Bearer from-a-file" || g.header.Get("X-Team") != "one" || g.header.Get("Idempotency-Key") != bad.ID {
		t.Errorf("%s %v", g.path, g.header)
	}
	if n.ID != bad.ID || n.Event != RolledBack || n.Title != "api: 2.0.0 was rolled back" || !strings.Contains(n.Text, "12 % of requests failed\nby teal, before it 1.0.0, serving blue, deployment d7") {
		t.Errorf("%+v", n)
	}
	// A file is read anew each time.
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := send(t, r, bad); err != nil || p.last().header.Get("Authorization") != "Bearer another" {
		t.Errorf("%v %v", err, p.last().header)
	}
}

// An incident is triggered and resolved under one key.
func TestPagerDuty(t *testing.T) {
	p := open(t)
	r := one(t, t.TempDir(), fmt.Sprintf("notify \"pagerduty\" \"p\" {\n routing_key = \"R0UT1NG\"\n url = %q\n}", p.URL+"/v2/enqueue"))
	type event struct {
		RoutingKey  string `json:"routing_key"`
		EventAction string `json:"event_action"`
		DedupKey    string `json:"dedup_key"`
		Payload     struct{ Summary, Source, Severity, Timestamp string }
	}
	var begin, end event
	if err := send(t, r, bad); err != nil {
		t.Fatal(err)
	}
	decoded(t, p.last().body, &begin)
	if err := send(t, r, good); err != nil {
		t.Fatal(err)
	}
	decoded(t, p.last().body, &end)
	if begin.EventAction != "trigger" || end.EventAction != "resolve" || begin.DedupKey != end.DedupKey || begin.DedupKey != "teal/api/rollback" {
		t.Errorf("%+v\n%+v", begin, end)
	}
	if begin.RoutingKey != "R0UT1NG" || begin.Payload.Severity != "critical" || begin.Payload.Source != "api" || begin.Payload.Timestamp != "2026-11-24T12:00:00Z" ||
		begin.Payload.Summary != "api: 2.0.0 was rolled back: 12 % of requests failed" {
		t.Errorf("%+v", begin)
	}
	def := one(t, t.TempDir(), `notify "pagerduty" "p" { routing_key = "x" }`)
	if def.Sender.(*pagerDuty).url.value != "https://events.pagerduty.com/v2/enqueue" {
		t.Errorf("by default it goes to %s", def.Sender.(*pagerDuty).url.value)
	}
}

// An alert ends with the labels that it began with, or it would not end.
func TestAlertmanager(t *testing.T) {
	p := open(t)
	r := one(t, t.TempDir(), fmt.Sprintf("notify \"alertmanager\" \"a\" {\n url = %q\n labels = { team = \"shop\" }\n expires = \"2h\"\n}", p.URL+"/am/"))
	type alert struct {
		Labels, Annotations map[string]string
		StartsAt, EndsAt    time.Time
	}
	var begin, end []alert
	if err := send(t, r, bad); err != nil {
		t.Fatal(err)
	}
	if path := p.last().path; path != "/am/api/v2/alerts" {
		t.Errorf("path %s", path)
	}
	decoded(t, p.last().body, &begin)
	if err := send(t, r, good); err != nil {
		t.Fatal(err)
	}
	decoded(t, p.last().body, &end)
	if fmt.Sprint(begin[0].Labels) != fmt.Sprint(end[0].Labels) || fmt.Sprint(begin[0].Labels) != "map[alertname:TealRollback service:api severity:critical team:shop]" {
		t.Errorf("%v\n%v", begin[0].Labels, end[0].Labels)
	}
	if left := time.Until(begin[0].EndsAt); left < time.Hour || left > 3*time.Hour || !end[0].EndsAt.Equal(good.At) || begin[0].Annotations["summary"] != bad.Title() {
		t.Errorf("%+v\n%+v", begin, end)
	}
	for _, n := range incidents {
		if alerts[n.what].name == "" {
			t.Errorf("incident %s has no alert", n.what)
		}
	}
}

func TestShoutrrr(t *testing.T) {
	p := open(t)
	r := one(t, t.TempDir(), fmt.Sprintf("notify \"shoutrrr\" \"s\" {\n url = %q\n}", "generic+"+p.URL+"/room"))
	if err := send(t, r, bad); err != nil {
		t.Fatal(err)
	}
	if g := p.last(); g.path != "/room" || !strings.Contains(g.body, "api: 2.0.0 was rolled back\n12 % of requests failed") {
		t.Errorf("%s %s", g.path, g.body)
	}
}

// A try that hangs ends in time for the caller, and there is never a second one
// beside it: the library cannot be told to stop.
func TestShoutrrrThatHangs(t *testing.T) {
	p := open(t)
	hang := make(chan struct{})
	p.answer = func(http.ResponseWriter, *http.Request, string) { <-hang }
	r := one(t, t.TempDir(), fmt.Sprintf("notify \"shoutrrr\" \"s\" {\n url = %q\n}", "generic+"+p.URL))
	for i := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := r.Sender.Send(ctx, bad)
		cancel()
		if err == nil || i > 0 && !errors.Is(err, errBusy) {
			t.Errorf("try %d: %v", i, err)
		}
	}
	p.mu.Lock()
	n := len(p.got)
	p.mu.Unlock()
	if n > 1 {
		t.Errorf("%d tries at a time", n)
	}
	p.mu.Lock()
	p.answer = nil
	p.mu.Unlock()
	close(hang)
	deadline := time.Now().Add(5 * time.Second)
	for err := send(t, r, bad); err != nil; err = send(t, r, bad) {
		if !errors.Is(err, errBusy) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// What a receiver says decides whether it is asked again.
func TestRefusedOrTriedAgain(t *testing.T) {
	p := open(t)
	r := one(t, t.TempDir(), fmt.Sprintf("notify \"webhook\" \"w\" {\n url = %q\n}", p.URL))
	for code, refused := range map[int]bool{400: true, 410: true, 413: true, 422: true, 401: false, 403: false, 404: false, 408: false, 429: false, 500: false, 503: false, 302: false} {
		p.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		}
		err := send(t, r, bad)
		if err == nil || errors.Is(err, errRefused) != refused {
			t.Errorf("%d: %v", code, err)
		}
		if p.last().path == "/elsewhere" {
			t.Error("a redirect was followed")
		}
	}
}

// Secrets come from everywhere, and receivers echo them in every way. None is
// ever part of an error.
func TestSecretsAreNeverShown(t *testing.T) {
	p, dir := open(t), t.TempDir()
	turn := 0
	p.answer = func(w http.ResponseWriter, r *http.Request, body string) { // the worst of servers
		w.WriteHeader(http.StatusInternalServerError)
		user, password, _ := r.BasicAuth()
		// Each in what fits into an error, by turns.
		for i, said := range []string{
			fmt.Sprintf("%s %s at http://%s:%s@h%s", user, password, user, password, r.URL),
			strings.ToUpper(fmt.Sprint(r.URL, user, password, r.Header["Authorization"])),
			fmt.Sprint(r.Header["Authorization"], r.Header["X-Key"], r.URL.Path),
			body[max(0, len(body)-200):],
			body,
		} {
			if i == turn%5 {
				fmt.Fprint(w, said)
			}
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	planted := []string{"us3rPLANT", "pa55PLANT", "pathPLANT1", "queryPLANT", "bearPLANT", "headPLANT", "keyPLANT", "filePLANT"}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("http://us3rPLANT:pa55PLANT@"+p.host()+"/filePLANT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "wrong"), []byte("filePLANT: no URL"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{p.host(), nobody} {
		for _, text := range []string{
			`notify "webhook" "x" {` + "\n" + `url = "http://us3rPLANT:pa55PLANT@HOST/pathPLANT1/x?token=queryPLANT"` + "\n" + `bearer_token = "bearPLANT"` + "\n" + `headers = { "X-Key" = "headPLANT" }` + "\n}",
			`notify "webhook" "x" { url_file = "secret" }`,
			`notify "webhook" "x" { url_file = "wrong" }`,
			`notify "pagerduty" "x" {` + "\n" + `routing_key = "keyPLANT"` + "\n" + `url = "http://us3rPLANT:pa55PLANT@HOST/pathPLANT1?a=queryPLANT"` + "\n}",
			`notify "alertmanager" "x" {` + "\n" + `url = "http://us3rPLANT:pa55PLANT@HOST/pathPLANT1?a=queryPLANT"` + "\n" + `bearer_token = "bearPLANT"` + "\n}",
			`notify "shoutrrr" "x" { url = "generic+http://us3rPLANT:pa55PLANT@HOST/pathPLANT1?x=queryPLANT" }`,
			`notify "shoutrrr" "x" { url = "gotify://HOST/AkeyPLANT12345x?disabletls=yes" }`,
			`notify "shoutrrr" "x" { url = "ntfy://us3rPLANT:pa55PLANT@HOST/pathPLANT1?scheme=http" }`,
			`notify "shoutrrr" "x" { url = "mattermost://us3rPLANT@HOST/keyPLANTkeyPLANT?disabletls=yes" }`,
			`notify "shoutrrr" "x" { url = "smtp://us3rPLANT:pa55PLANT@HOST/?from=a@b.c&to=d@e.f&encryption=None&timeout=1s" }`,
		} {
			text = strings.ReplaceAll(text, "HOST", host)
			rs, diags := receivers(t, dir, text)
			if len(diags) > 0 {
				t.Fatalf("%v", diags)
			}
			for turn = range 5 {
				err := send(t, rs[0], bad)
				if err == nil {
					t.Errorf("no error from %s", text)
					continue
				}
				for _, secret := range planted {
					if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(secret)) {
						t.Errorf("%q is shown in %q", secret, err)
					}
				}
				if len(err.Error()) > 600 {
					t.Errorf("%d bytes of error", len(err.Error()))
				}
				if rs[0].Kind == "shoutrrr" && turn > 0 && strings.Contains(text, "smtp") {
					break // it takes its time
				}
			}
		}
	}
}

// A mistake in a block is told with its line, and never with the secret.
func TestMistakesInBlocks(t *testing.T) {
	lines := []string{
		`notify "slack" "a" {}`,                     // 1: no such kind
		`notify "webhook" "b c" {`,                  // 2: a wrong name
		`  url = "ftp://h/PLANT"`,                   // 3: not http
		`  events = ["rolled-bak"]`,                 // 4: no such event
		`  severity = "loud"`,                       // 5
		`  services = ["[a"]`,                       // 6: no pattern
		`  timeout = "5m"`,                          // 7: too long
		`  headers = { "a b" = "c" }`,               // 8
		`  adress = "x"`,                            // 9: not known
		`}`,                                         //
		`notify "webhook" "d" {}`,                   // 11: no URL
		`notify "pagerduty" "e" {`,                  //
		`  events = ["cutover"]`,                    // 13: no incident
		`  routing_key = "PLANT"`,                   //
		`  routing_key_file = "x"`,                  // 15: both
		`}`,                                         //
		`notify "shoutrrr" "f" {`,                   //
		`  url = "nosuch://PLANT@PLANT"`,            // 18
		`}`,                                         //
		`notify "alertmanager" "g" {`,               //
		`  url = "https://PLANT:PLANT@ PLANT/"`,     // 21
		`  labels = { "a-b" = "c" }`,                // 22
		`  give_up = "1s"`,                          // 23: less than a try
		`}`,                                         //
		`notify "shoutrrr" "h" { url = ["PLANT"] }`, // 25
		`notify "shoutrrr" "i" { url = "slack://PLANT" }`,                // 26: not enough of a token
		`notify "shoutrrr" "j" { url = "slack://PLANT:PLANT%zz@PLANT" }`, // 27: no URL at all
	}
	_, diags := receivers(t, t.TempDir(), strings.Join(lines, "\n"))
	found := map[int]bool{}
	for _, d := range diags {
		found[d.Subject.Start.Line] = true
		if strings.Contains(d.Summary+d.Detail, "PLANT") {
			t.Errorf("a secret is shown: %s: %s", d.Summary, d.Detail)
		}
	}
	for _, line := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 18, 21, 22, 23, 25, 26, 27} {
		if !found[line] {
			t.Errorf("nothing is said of line %d: %s\n%v", line, lines[line-1], diags)
		}
	}
}

// However a library puts a secret together anew, no part of it is shown; what
// says what went wrong is.
func TestShown(t *testing.T) {
	const target = "slack://xoxb:123456789-abcdefgh-Zz9y@C0FFEE42?x=q%2Fuery"
	for said, want := range map[string]string{
		"post https://hooks.example.com/services/123456789/Zz9y failed": "post [hidden] failed",
		"token 123456789 of C0FFEE42":                                   "token [hidden] of [hidden]",
		"XOXB and c0ffee42":                                             "[hidden] and [hidden]",
		"xoxb:123456789-abcdefgh-Zz9y":                                  "[hidden]:[hidden]-[hidden]-[hidden]",
		"uery":                                                          "[hidden]",
		"q/uery":                                                        "q/[hidden]",
		"see ftp://anything":                                            "see [hidden]",
		"dial tcp: lookup slack: no such host":                          "dial tcp: lookup slack: no such host",
		"a\x1b[31m\nb":                                                  "a.[31m b",
	} {
		if got := shown(said, target); got != want {
			t.Errorf("%q is shown as %q, want %q", said, got, want)
		}
	}
	if got := shown(strings.Repeat("word ", 1000)); len(got) > maxSaid+4 {
		t.Errorf("%d bytes", len(got))
	}
}
