package ask

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/measure"
)

// service answers all with one function.
func service(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s
}

func said(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// refused wants an error with these words, short and in one line.
func refused(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %q", what, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
	if len(err.Error()) > 2*maxError || strings.ContainsAny(err.Error(), "\n\r\x1b") {
		t.Errorf("%s: %q is no short line", what, err)
	}
}

func TestDocument(t *testing.T) {
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"orders": {"per_minute": 12.5}, "asked": %q}`, r.URL.RawQuery)
	})
	q, err := measure.Document{URL: s.URL + "/x?version={version}", Path: "orders.per_minute"}.Fill(measure.Filling{"version": "1 & 2"})
	if err != nil {
		t.Fatal(err)
	}
	values, err := Query(t.Context(), q, time.Time{})
	if err != nil || len(values) != 1 || values[0].Number != 12.5 {
		t.Errorf("%v, %v", values, err)
	}
	if at := q.(measure.Document).URL; !strings.HasSuffix(at, "version=1+%26+2") {
		t.Errorf("asked %s: the version is more than one value", at)
	}
}

// Whatever a service answers, there is a short error that says what was wrong, and
// nothing that was in the question's secrets.
func TestBadAnswers(t *testing.T) {
	other := service(t, said(`{"n": 1}`))
	secretFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secretFile, []byte("Bearer s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		words  []string
	}{
		"status":          {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }, []string{"answered 503, expected 200"}},
		"no JSON":         {said("<html>\n\x1b[31m"), []string{"the answer is not JSON"}},
		"two documents":   {said(`{"n":1}{"n":2}`), []string{"not one JSON document"}},
		"half a document": {said(`{"n":1`), []string{"the answer is not JSON"}},
		"a text":          {said(`{"n":"many"}`), []string{`n is "many", which is no number`}},
		"truth":           {said(`{"n":true}`), []string{"n is true, which is no number"}},
		"an object":       {said(`{"n":{}}`), []string{"n is an object; name one of its keys, or * for all"}},
		"an endless redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) },
			[]string{"redirected more than 3 times"}},
		"a redirect elsewhere": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) },
			[]string{"redirected to " + other.URL + ", which was not asked"}},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"x":"`)
			chunk := strings.Repeat("x", 1<<20)
			for range 6 {
				if _, err := fmt.Fprint(w, chunk); err != nil {
					return
				}
			}
		}, []string{"the answer is larger than 4 MiB"}},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"x":"`)
			http.NewResponseController(w).Flush() //nolint:errcheck // the client sees
			<-r.Context().Done()
		}, []string{"no whole answer in time"}},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"n":1`)
		}, []string{"unexpected EOF"}},
	} {
		s := service(t, c.answer)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if name == "slow" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		_, err := Query(ctx, measure.Document{URL: s.URL + "/x?token=t0ken", Path: "n", Access: measure.Access{HeaderFiles: map[string]string{"Authorization": secretFile}}}, time.Time{})
		cancel()
		refused(t, name, err, append(c.words, s.URL+"/x")...)
		if err != nil && (strings.Contains(err.Error(), "t0ken") || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: a secret is told: %s", name, err)
		}
		s.CloseClientConnections()
	}
	s := service(t, said("{}"))
	s.Close()
	_, err := Query(t.Context(), measure.Document{URL: s.URL + "/x?token=t0ken", Path: "n"}, time.Time{})
	refused(t, "nobody there", err, s.URL+"/x: ", "connection refused")
	if strings.Contains(err.Error(), "t0ken") {
		t.Errorf("a secret is told: %s", err)
	}
	values, err := Query(t.Context(), measure.Document{URL: other.URL, Path: "orders"}, time.Time{})
	if err != nil || len(values) != 0 {
		t.Errorf("a path that is not there: %v, %v, want no number", values, err)
	}
}

// Headers come from files, anew with each question, and go to nobody else.
func TestHeaders(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer two" && r.Header.Get("X-Scope") == "eu" && r.Host == "metrics" {
			fmt.Fprint(w, `{"n": 1}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	q := measure.Document{URL: s.URL, Path: "n", Access: measure.Access{
		Headers: map[string]string{"x-scope": "eu", "Host": "metrics"}, HeaderFiles: map[string]string{"Authorization": token},
	}}
	_, err := Query(t.Context(), q, time.Time{})
	refused(t, "no file", err, "header_files: Authorization: open "+token)
	write("Bearer one\n")
	_, err = Query(t.Context(), q, time.Time{})
	refused(t, "an old token", err, "answered 401")
	write("Bearer two\n")
	if _, err = Query(t.Context(), q, time.Time{}); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{"empty": "\n", "two lines": "a\nb"} {
		write(text)
		_, err = Query(t.Context(), q, time.Time{})
		refused(t, name, err, "holds no value of one line")
	}
	write(strings.Repeat("x", maxSecret+1))
	_, err = Query(t.Context(), q, time.Time{})
	refused(t, "huge", err, "is larger than")
}

func TestCertificates(t *testing.T) {
	s := httptest.NewTLSServer(said(`{"n": 7}`))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	dir := t.TempDir()
	ca, nothing := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "nothing.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for path, body := range map[string][]byte{ca: text, nothing: []byte("no certificate")} {
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(a measure.Access) error {
		_, err := Query(t.Context(), measure.Document{URL: s.URL, Path: "n", Access: a}, time.Time{})
		return err
	}
	refused(t, "unknown", ask(measure.Access{}), "signed by unknown authority (the server's certificate is signed by nobody who is trusted here: ca_file says whom to trust)")
	refused(t, "no certificate", ask(measure.Access{TLS: measure.TLS{CAFile: nothing}}), "ca_file: there is no certificate in "+nothing)
	refused(t, "no file", ask(measure.Access{TLS: measure.TLS{CAFile: ca + "x"}}), "ca_file: open")
	elsewhere := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	_, err := Query(t.Context(), measure.Prometheus{URL: elsewhere, Query: "up", Access: measure.Access{TLS: measure.TLS{CAFile: ca}}}, time.Time{})
	refused(t, "another name's", err, "the host in url must be a name that stands in it")
	spoken := service(t, said(`{"n": 7}`))
	for at, words := range map[string]string{
		strings.Replace(spoken.URL, "http:", "https:", 1): "url must name the port where it does, or begin with http://",
		strings.Replace(s.URL, "https:", "http:", 1):      "(the server speaks TLS at this address: url must begin with https://)",
	} {
		_, err := Query(t.Context(), measure.Document{URL: at, Path: "n"}, time.Time{})
		refused(t, at, err, words)
	}
	shy := httptest.NewUnstartedServer(said(`{"n": 7}`))
	shy.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	shy.Config.ErrorLog = log.New(io.Discard, "", 0)
	shy.StartTLS()
	t.Cleanup(shy.Close)
	_, err = Query(t.Context(), measure.Document{URL: shy.URL, Path: "n", Access: measure.Access{TLS: measure.TLS{InsecureSkipVerify: true}}}, time.Time{})
	refused(t, "wants to see one", err, "perhaps it wants to see a certificate of whoever asks")
	if err := ask(measure.Access{TLS: measure.TLS{CAFile: ca}}); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
	if err := ask(measure.Access{TLS: measure.TLS{InsecureSkipVerify: true}}); err != nil {
		t.Errorf("without looking: %v", err)
	}
}

// What a Prometheus may answer.
func TestPrometheus(t *testing.T) {
	good := func(kind, result string) string {
		return fmt.Sprintf(`{"status":"success","data":{"resultType":%q,"result":%s}}`, kind, result)
	}
	for name, c := range map[string]struct {
		answer string
		status int
		want   string // values
		words  string // of an error
		span   time.Duration
	}{
		"a scalar":      {answer: good("scalar", `[1700000000,"0.5"]`), want: "[{ 0.5}]"},
		"no series":     {answer: good("vector", `[]`), want: "[]"},
		"one":           {answer: good("vector", `[{"metric":{},"value":[1700000000,"3"]}]`), want: "[{ 3}]"},
		"two":           {answer: good("vector", `[{"metric":{"a":"x"},"value":[1,"3"]},{"metric":{"a":"y"},"value":[1,"4"]}]`), want: `[{{a="x"} 3} {{a="y"} 4}]`},
		"NaN":           {answer: good("vector", `[{"metric":{},"value":[1,"NaN"]}]`), want: "[{ NaN}]"},
		"infinite":      {answer: good("vector", `[{"metric":{},"value":[1,"+Inf"]}]`), want: "[{ +Inf}]"},
		"a range":       {answer: good("matrix", `[{"metric":{},"values":[[1,"3"],[2,"4"]]}]`), want: "[{ 3} { 4}]", span: time.Minute},
		"a text":        {answer: good("string", `[1,"x"]`), words: `unexpected value type "string"`},
		"bad query":     {status: 400, answer: `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error"}`, words: `refused the query: invalid parameter "query": 1:5: parse error`},
		"too long":      {status: 503, answer: `{"status":"error","errorType":"timeout","error":"query timed out"}`, words: `server error: 503 {"status":"error","errorType":"timeout","error":"query timed out"}`},
		"not whole":     {answer: `{"status":"success","warnings":["a store is away"],"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}`, words: "the answer is not whole: a store is away"},
		"a note":        {answer: `{"status":"success","infos":["metric might not be a counter"],"data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}`, want: "[{ 3}]"},
		"an error page": {answer: "<html>", words: "Prometheus at "},
		"no Prometheus": {status: 404, answer: "not found", words: "404"},
		"histograms":    {answer: good("vector", `[{"metric":{"a":"b"},"histogram":[1,{"count":"1","sum":"1","buckets":[]}]}]`), words: "is a histogram"},
		"too many":      {answer: good("vector", "["+strings.Repeat(`{"metric":{"a":"x"},"value":[1,"3"]},`, maxSeries)+`{"metric":{},"value":[1,"3"]}]`), words: "aggregate them in the query"},
	} {
		var asked string
		s := service(t, func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Path + " " + r.FormValue("query") + " " + r.FormValue("time")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(max(c.status, 200))
			fmt.Fprint(w, c.answer)
		})
		values, err := Query(t.Context(), measure.Prometheus{URL: s.URL, Query: "x", Range: c.span, Step: c.span / 10}, time.Unix(1700000000, 0))
		if c.words != "" {
			refused(t, name, err, c.words)
			continue
		}
		if got := fmt.Sprint(values); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
		want := "/api/v1/query x 1700000000"
		if c.span > 0 {
			want = "/api/v1/query_range x "
		}
		if asked != want {
			t.Errorf("%s: asked %q, want %q", name, asked, want)
		}
	}
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
	})
	_, err := Query(t.Context(), measure.Prometheus{URL: s.URL, Query: "x"}, time.Time{})
	refused(t, "an endless redirect", err, "redirected more than 3 times")
	s = service(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 6 {
			if _, err := fmt.Fprint(w, strings.Repeat(" ", 1<<20)); err != nil {
				return
			}
		}
	})
	_, err = Query(t.Context(), measure.Prometheus{URL: s.URL, Query: "x"}, time.Time{})
	refused(t, "huge", err, "the answer is larger than 4 MiB")
}

func TestMetrics(t *testing.T) {
	const text = `# TYPE hits counter
hits{code="200",path="/"} 7
hits{code="500",path="/"} 2
# TYPE heap gauge
heap NaN
# TYPE took histogram
took_bucket{le="+Inf"} 4
took_sum 2.5
took_count 4
# TYPE size summary
size{quantile="0.5"} 1
size_sum 10
size_count 3
plain -3
`
	s := service(t, said(text))
	for _, c := range []struct {
		metric string
		labels map[string]string
		want   string
	}{
		{"hits", nil, `[{hits{code="200",path="/"} 7} {hits{code="500",path="/"} 2}]`},
		{"hits", map[string]string{"code": "500"}, `[{hits{code="500",path="/"} 2}]`},
		{"hits", map[string]string{"code": "404"}, "[]"},
		{"hit", nil, "[]"},
		{"plain", nil, "[{plain -3}]"},
		{"took_count", nil, "[{took_count 4}]"},
		{"took_sum", nil, "[{took_sum 2.5}]"},
		{"size_count", nil, "[{size_count 3}]"},
		{"took", nil, "[]"},
	} {
		values, err := Metrics(t.Context(), s.URL, c.metric, c.labels, measure.Access{})
		if got := fmt.Sprint(values); err != nil || got != c.want {
			t.Errorf("%s %v: %s, %v, want %s", c.metric, c.labels, got, err, c.want)
		}
	}
	values, err := Metrics(t.Context(), s.URL, "heap", nil, measure.Access{})
	if err != nil || len(values) != 1 || !math.IsNaN(values[0].Number) {
		t.Errorf("heap: %v, %v", values, err)
	}
	_, err = Metrics(t.Context(), service(t, said("<html>")).URL, "hits", nil, measure.Access{})
	refused(t, "an error page", err, "not the Prometheus text format")
	many := strings.Builder{}
	for i := range maxSeries + 1 {
		fmt.Fprintf(&many, "hits{i=\"%d\"} 1\n", i)
	}
	_, err = Metrics(t.Context(), service(t, said(many.String())).URL, "hits", nil, measure.Access{})
	refused(t, "too many", err, "more than 1000 series of hits; select some by labels")
}

// What broken Prometheus says must not end the agent.
func TestASeriesThatIsNull(t *testing.T) {
	for _, kind := range []string{"vector", "matrix"} {
		s := service(t, said(`{"status":"success","data":{"resultType":"`+kind+`","result":[null]}}`))
		_, err := Query(context.Background(), measure.Prometheus{URL: s.URL, Query: "up"}, time.Time{})
		refused(t, kind, err, "a series that is null")
	}
}

// Whoever is asked can echo what it was sent, and is not to be quoted with that.
func TestWhatStandsInAFileIsNotQuoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("Bearer s3cr3t-0f-a-f1le\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	echo := func(answer string) *httptest.Server {
		return service(t, func(w http.ResponseWriter, r *http.Request) {
			_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			fmt.Fprintf(w, answer, token)
		})
	}
	access := measure.Access{HeaderFiles: map[string]string{"Authorization": path}}
	for answer, words := range map[string]string{
		`{"status":"error","errorType":"bad_data","error":"who is %s?"}`:                               "who is [redacted]?",
		`{"status":"success","warnings":["half: %s"],"data":{"resultType":"scalar","result":[1,"1"]}}`: "half: [redacted]",
	} {
		_, err := Query(context.Background(), measure.Prometheus{URL: echo(answer).URL, Query: "up", Access: access}, time.Time{})
		refused(t, answer, err, words)
	}
	_, err := Query(context.Background(), measure.Document{URL: echo(`{"a": "%s"}`).URL, Path: "a", Access: access}, time.Time{})
	refused(t, "a document", err, `a is "[redacted]", which is no number`)
	values, err := Query(context.Background(), measure.Document{URL: echo(`{"%s": 1}`).URL, Path: "*", Access: access}, time.Time{})
	if err != nil || len(values) != 1 || values[0].Name != "[redacted]" {
		t.Errorf("%+v %v", values, err)
	}
}
