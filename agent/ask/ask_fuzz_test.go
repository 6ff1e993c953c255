package ask

import (
	"context"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/redact"
)

// server answers everything the same way.
type server struct {
	status   int
	location string
	body     string
	asked    []string // hosts
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, req.URL.Scheme+"://"+req.URL.Host)
	header := http.Header{}
	if s.location != "" {
		header.Set("Location", s.location)
	}
	return &http.Response{StatusCode: s.status, Header: header, Body: io.NopCloser(strings.NewReader(s.body)), Request: req}, nil
}

// hiddenValue is a token in a file; {secret} in a seed is an echo of it.
const hiddenValue = "s3cr3t-0f-a-f1le"

// asking makes clients of which only the network is not the real one.
func asking(f *testing.F) func(*server) client {
	path := filepath.Join(f.TempDir(), "token")
	if err := os.WriteFile(path, []byte("Bearer "+hiddenValue+"\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	c, err := newClient(measure.Access{HeaderFiles: map[string]string{"Authorization": path}})
	if err != nil {
		f.Fatal(err)
	}
	return func(s *server) client {
		c.http.Transport.(*bounded).base = s
		return c
	}
}

// harmless holds an answer against what may be shown of it, and judged by it.
func (s *server) harmless(t *testing.T, values []measure.Value, err error) {
	t.Helper()
	shown := []string{}
	if err != nil {
		if len(values) > 0 {
			t.Fatalf("%v, and still %v", err, values)
		}
		shown = append(shown, err.Error())
	}
	for _, v := range values {
		shown = append(shown, v.Name)
	}
	for _, text := range shown {
		if text != redact.Line(text) || utf8.RuneCountInString(text) > maxError {
			t.Fatalf("no short printable line: %q", text)
		}
		if strings.Contains(text, hiddenValue) {
			t.Fatalf("what stands in a file is shown: %q", text)
		}
	}
	for _, host := range s.asked {
		if host != "http://p:9090" {
			t.Fatalf("%s was asked", host)
		}
	}
	if len(values) > maxSeries || len(s.asked) > 2*(maxRedirects+2) {
		t.Fatalf("%d values, and %d requests", len(values), len(s.asked))
	}
	for _, limits := range []measure.Limits{{Above: 1, HasAbove: true}, {Below: 1, HasBelow: true}, {Above: 2, HasAbove: true, Below: -2, HasBelow: true}} {
		found := limits.Judge(values)
		for key, n := range found.Figures {
			if math.IsNaN(n) || math.IsInf(n, 0) {
				t.Fatalf("%s is %v", key, n)
			}
		}
		if found.Verdict != measure.Unknown && len(values) == 0 {
			t.Fatalf("a verdict on nothing: %+v", found)
		}
		for _, v := range values {
			if found.Verdict == measure.Within && v.Number-v.Number != 0 {
				t.Fatalf("%v is within limits", v)
			}
		}
	}
}

// FuzzPrometheus: whatever a Prometheus, or who is in its place, answers, there are
// numbers or one harmless line that says why not.
func FuzzPrometheus(f *testing.F) {
	for _, seed := range []struct {
		status         int
		location, body string
	}{
		{200, "", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\u001b[2J"},"value":[1,"1"]}]}}`},
		{200, "", `{"status":"success","data":{"resultType":"vector","result":[null]}}`},
		{200, "", `{"status":"success","data":{"resultType":"matrix","result":[null,{"metric":{},"values":[[1,"NaN"],[2,"+Inf"]]}]}}`},
		{200, "", `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"{secret}"},"values":[[1,"1"]]}]}}`},
		{200, "", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[[0,"1","2","3"]]}]}]}}`},
		{200, "", `{"status":"success","data":{"resultType":"scalar","result":[1,"-1e999"]}}`},
		{200, "", `{"status":"success","data":{"resultType":"string","result":[1,"a"]}}`},
		{200, "", `{"status":"success","warnings":["half of it: {secret}\u001b"],"data":{"resultType":"scalar","result":[1,"1"]}}`},
		{200, "", `{"status":"success","data":{"resultType":"scalar","result":null}}`},
		{200, "", `{"status":"success","data":null}`},
		{400, "", `{"status":"error","errorType":"bad_data","error":"you said Bearer {secret}"}`},
		{503, "", `{"status":"error","errorType":"timeout","error":"\u009b"}`},
		{401, "", "who is Bearer {secret}?\r\n\x1b[2J"},
		{302, "http://evil/", ""},
		{307, "/", ""},
		{405, "", ""},
		{200, "", "null"},
	} {
		f.Add(seed.status, seed.location, seed.body, false)
		f.Add(seed.status, seed.location, seed.body, true)
	}
	client := asking(f)
	f.Fuzz(func(t *testing.T, status int, location, body string, ranged bool) {
		if status < 200 || status > 999 {
			return // no answer of HTTP's
		}
		s := &server{status: status, location: location, body: strings.ReplaceAll(body, "{secret}", hiddenValue)}
		c, ctx := client(s), context.Background()
		q := measure.Prometheus{URL: "http://p:9090", Query: "up"}
		if ranged {
			q.Range, q.Step = time.Minute, time.Second
		}
		values, err := c.prometheus(ctx, q, time.Unix(1e9, 0))
		if err != nil {
			values, err = nil, c.plain(ctx, err)
		}
		s.harmless(t, values, err)
	})
}

// FuzzDocument is the same of somebody's JSON.
func FuzzDocument(f *testing.F) {
	f.Add(200, "", `{"orders":{"{secret}":1,"b\u001b":"2"}}`, "orders.*")
	f.Add(200, "", `{"orders":"{secret}"}`, "orders")
	f.Add(200, "", `{"orders":["NaN","1e999",-0]}`, "orders.*")
	f.Add(401, "", `{secret}`, "a")
	f.Add(302, "//{secret}/", ``, "a")
	f.Add(301, "/%zz\x1b", ``, "a")
	client := asking(f)
	f.Fuzz(func(t *testing.T, status int, location, body, path string) {
		if status < 200 || status > 999 || strings.Contains(path, hiddenValue) || path != redact.Line(path) || len(path) > 50 {
			return // the path is the policy's
		}
		plant := func(text string) string { return strings.ReplaceAll(text, "{secret}", hiddenValue) }
		s := &server{status: status, location: plant(location), body: plant(body)}
		c, ctx := client(s), context.Background()
		values, err := c.document(ctx, measure.Document{URL: "http://p:9090/x", Path: path})
		if err != nil {
			values, err = nil, c.plain(ctx, err)
		}
		s.harmless(t, values, err)
	})
}

// FuzzMetrics is the same of an instance's own metrics.
func FuzzMetrics(f *testing.F) {
	f.Add(200, "", "# TYPE x histogram\nx_bucket{le=\"1\"} 1\nx_bucket{le=\"+Inf\"} 2\nx_sum -1\nx_count 2\n", "x_count")
	f.Add(200, "", "x{a=\"{secret}\",b=\"\\n\u009b\"} NaN\nx{a=\"c\"} -Inf 5\n", "x")
	f.Add(200, "", "x 1\nx{a=\"\xff\"} {secret}\n", "x")
	f.Add(200, "", "{\"x.y\",a=\"b\"} 0x1p4", "x.y")
	f.Add(200, "", "# TYPE x summary\nx{quantile=\"0.5\"} 1\nx_sum +Inf\nx_count -1\n", "x_sum")
	f.Add(404, "", "Bearer {secret}", "x")
	client := asking(f)
	f.Fuzz(func(t *testing.T, status int, location, body, metric string) {
		if status < 200 || status > 999 || strings.Contains(metric, hiddenValue) || metric != redact.Line(metric) || len(metric) > 50 {
			return // the metric is the policy's
		}
		s := &server{status: status, location: location, body: strings.ReplaceAll(body, "{secret}", hiddenValue)}
		values, err := client(s).metrics(context.Background(), "http://p:9090/metrics", metric, nil)
		s.harmless(t, values, err)
	})
}
