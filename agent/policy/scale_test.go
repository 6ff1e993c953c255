package policy

import (
	"fmt"
	"runtime"
	"testing"
)

// thousands writes n policies of ordinary size, each with a jobspec of its own.
func thousands(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := range n {
		write(tb, dir, fmt.Sprintf("jobs/s%05d.nomad.hcl", i), fmt.Sprintf("job \"s%05d\" {\n  group \"g\" {}\n}\n", i))
		write(tb, dir, fmt.Sprintf("s%05d.hcl", i), ordinary(i, "24h"))
	}
	return dir
}

func ordinary(i int, soak string) string {
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
`, i, i, soak)
}

// One edit among many policies decodes one file.
func TestEditAmongMany(t *testing.T) {
	dir := thousands(t, 300)
	r := newReader(dir)
	was, diags, _ := r.read(false)
	noMistakes(t, diags)
	write(t, dir, "s00150.hcl", ordinary(150, "1h"))
	now, diags, _ := r.read(false)
	noMistakes(t, diags)
	decoded := 0
	for _, p := range now.Policies() {
		if was.Policy(p.Service) != p {
			decoded++
		}
	}
	if now.Len() != 300 || decoded != 1 {
		t.Errorf("%d of %d policies were decoded again", decoded, now.Len())
	}
}

func BenchmarkLoad10000(b *testing.B) {
	dir := thousands(b, 10_000)
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
	dir := thousands(b, 10_000)
	r := newReader(dir)
	r.read(false)
	edits := 0
	b.ResetTimer()
	for b.Loop() {
		edits++
		write(b, dir, "s05000.hcl", ordinary(5000, fmt.Sprintf("%dm", edits)))
		if _, _, changed := r.read(false); !changed {
			b.Fatal("the edit was missed")
		}
	}
}
