package policy

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// thousands writes n policies of ordinary size, each file of them with a
// jobspec of its own.
func thousands(tb testing.TB, n, perFile int) string {
	tb.Helper()
	dir := tb.TempDir()
	for first := 0; first < n; first += perFile {
		write(tb, dir, fmt.Sprintf("jobs/s%05d.nomad.hcl", first), fmt.Sprintf("job \"s%05d\" {\n  group \"g\" {}\n}\n", first))
		text := ""
		for i := first; i < first+perFile; i++ {
			text += ordinary(i, first, "24h")
		}
		write(tb, dir, fmt.Sprintf("s%05d.hcl", first), text)
	}
	return dir
}

func ordinary(i, job int, soak string) string {
	return fmt.Sprintf(`service "s%05d" {
  job       = "jobs/s%05d.nomad.hcl"
  variables = { version = "1.3.0", count = 3 }
  launch {
    deadline    = "10m"
    healthy_for = "10s"
  }
  gate "http" "smoke" {
    path   = "/health"
    status = 200
  }
  approval {
    required = false
  }
  watch {
    for = "15m"
    trigger "consul-health" "health" {}
  }
  soak {
    for  = %q
    then = "keep"
  }
}
`, i, job, soak)
}

// Ten thousand policies are boring: they are read once, a look at what has not
// changed decodes nothing, an edit decodes one file, and little is held.
func TestTenThousandPolicies(t *testing.T) {
	const n, perFile = 10_000, 20
	dir := thousands(t, n, perFile)
	r := newReader(dir)
	began := time.Now()
	was, diags, _ := r.read(false)
	loading := time.Since(began)
	noMistakes(t, diags)
	if was.Len() != n {
		t.Fatalf("%d policies", was.Len())
	}
	if now, _, changed := r.read(false); changed || now != was {
		t.Error("nothing was edited, but there is a new set")
	}
	edited := ""
	for i := range perFile {
		edited += ordinary(160+i, 160, "1h")
	}
	write(t, dir, "s00160.hcl", edited)
	began = time.Now()
	now, diags, changed := r.read(false)
	editing := time.Since(began)
	noMistakes(t, diags)
	decoded := 0
	for _, p := range now.Policies() {
		if was.Policy(p.Service) != p {
			decoded++
		}
	}
	if !changed || now.Len() != n || decoded != perFile || now.Digest == was.Digest {
		t.Errorf("%d of %d policies were decoded again", decoded, now.Len())
	}
	if editing > loading {
		t.Errorf("an edit took %s, all of them %s", editing, loading)
	}
	for _, i := range []int{0, 1, 150, n / 2, n - 1} {
		if service := fmt.Sprintf("s%05d", i); now.Policy(service) == nil || now.Policy(service).Service != service {
			t.Errorf("%s is not found", service)
		}
	}
	var m runtime.MemStats
	was = nil
	runtime.GC()
	runtime.ReadMemStats(&m)
	if held := m.HeapAlloc >> 20; held > 100 {
		t.Errorf("%d MiB are held", held)
	}
	runtime.KeepAlive(r)
}

func BenchmarkLoad10000(b *testing.B) {
	dir := thousands(b, 10_000, 1)
	b.ResetTimer()
	for b.Loop() {
		r := newReader(dir)
		set, diags, _ := r.read(false)
		noMistakes(b, diags)
		if set.Len() != 10_000 {
			b.Fatalf("%d policies", set.Len())
		}
		b.StopTimer()
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-held")
		runtime.KeepAlive(r)
		b.StartTimer()
	}
}

func BenchmarkEditAmong10000(b *testing.B) {
	dir := thousands(b, 10_000, 1)
	r := newReader(dir)
	r.read(false)
	edits := 0
	b.ResetTimer()
	for b.Loop() {
		edits++
		write(b, dir, "s05000.hcl", ordinary(5000, 5000, fmt.Sprintf("%dm", edits)))
		if _, _, changed := r.read(false); !changed {
			b.Fatal("the edit was missed")
		}
	}
}
