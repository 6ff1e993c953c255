package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// Metrics are the agent's figures for Prometheus. No metric has the service
// as a label: their number is constant, however many policies there are. A
// nil *Metrics counts nothing, so that its users need no check.
type Metrics struct {
	registry *prometheus.Registry

	leader       prometheus.Gauge
	services     prometheus.Gauge
	held, paused prometheus.Gauge
	inFlight     *prometheus.GaugeVec
	ended        *prometheus.CounterVec
	cutover      prometheus.Histogram
	rollback     *prometheus.HistogramVec
	detect       prometheus.Histogram
	commands     *prometheus.CounterVec
	policies     prometheus.Gauge
	policyErrors prometheus.Gauge
	reloads      *prometheus.CounterVec
	notices      *prometheus.CounterVec
	waiting      prometheus.Gauge
	auditFailing prometheus.Gauge
	auditLines   *prometheus.CounterVec
	auditLost    *prometheus.CounterVec
	consulErrors *prometheus.CounterVec
	nomadErrors  *prometheus.CounterVec
}

// A decision reaches Consul in milliseconds; anything beyond a second is
// trouble and needs no fine buckets.
var moveBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

// NewMetrics makes a registry of its own and registers everything in it.
// Every series of a known label value exists from the start, at zero, so that
// rates work for the first event too.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "teal_" + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "teal_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}

	m.leader = gauge("leader", "1 while this agent leads.")
	m.services = gauge("services", "Services with a record that this agent manages.")
	m.held = gauge("services_held", "Services that wait for a person because something must be looked at.")
	m.paused = gauge("services_paused", "Services that an operator paused.")
	m.policies = gauge("policies", "Policies loaded.")
	m.policyErrors = gauge("policy_errors", "Mistakes in policy files; the last good policies stay in force.")

	m.notices = counter("notices_total", "What became of notices, by receiver and result.", "receiver", "result")
	m.waiting = gauge("notices_waiting", "Notices that some receiver has not taken yet.")
	m.auditFailing = gauge("audit_failing", "1 while the audit file cannot be written.")
	m.auditLines = counter("audit_lines_total", "Lines written to the audit file.")
	m.auditLost = counter("audit_lost_total", "Events that are not in the audit file because it could not be written.")

	m.inFlight = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "teal_deployments", Help: "Deployments in flight by state."}, []string{"state"})
	m.ended = counter("deployments_ended_total", "Deployments ended by outcome.", "outcome")
	m.commands = counter("commands_total", "Commands taken, by verb and result.", "verb", "result")
	m.reloads = counter("reloads_total", "Reloads of config and policies by result.", "result")
	m.consulErrors = counter("consul_request_errors_total", "Requests to Consul that failed, by operation.", "operation")
	m.nomadErrors = counter("nomad_request_errors_total", "Requests to Nomad that failed, by operation.", "operation")

	m.cutover = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "teal_cutover_seconds", Help: "From the decision to Consul's acknowledgement of the route.", Buckets: moveBuckets})
	m.rollback = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "teal_rollback_seconds", Help: "From the decision to Consul's acknowledgement of the route back, by cause (trigger, command).", Buckets: moveBuckets}, []string{"cause"})
	m.detect = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "teal_detection_seconds", Help: "From the first bad observation to the decision to roll back.", Buckets: []float64{.1, .25, .5, 1, 2, 3, 5, 10, 30, 60, 300}})

	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "teal_build_info", Help: "1, with the version as label."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.inFlight, m.cutover, m.rollback, m.detect, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	for _, o := range []deployment.Outcome{deployment.Succeeded, deployment.RolledBack, deployment.Failed, deployment.Aborted, deployment.Superseded} {
		m.ended.WithLabelValues(string(o))
	}
	for _, v := range kv.Verbs {
		m.commands.WithLabelValues(string(v), "accepted")
		m.commands.WithLabelValues(string(v), "refused")
	}
	for _, cause := range []string{causeTrigger, causeCommand} {
		m.rollback.WithLabelValues(cause)
	}
	for _, result := range []string{"ok", "refused"} {
		m.reloads.WithLabelValues(result)
	}
	m.Deployments(nil)
	m.AuditWritten(0)
	m.AuditLost(0)
	return m
}

const (
	causeTrigger = "trigger"
	causeCommand = "command"
)

// Leader says whether this agent leads.
func (m *Metrics) Leader(leads bool) {
	if m != nil {
		m.leader.Set(zeroOne(leads))
	}
}

// Services sets how many services there are and how many wait for a person.
func (m *Metrics) Services(all, held, paused int) {
	if m != nil {
		m.services.Set(float64(all))
		m.held.Set(float64(held))
		m.paused.Set(float64(paused))
	}
}

// Deployments sets how many deployments are in each state; states that are
// not named are zero.
func (m *Metrics) Deployments(inFlight map[deployment.State]int) {
	if m == nil {
		return
	}
	for _, s := range deployment.States {
		if s != deployment.Done {
			m.inFlight.WithLabelValues(string(s)).Set(float64(inFlight[s]))
		}
	}
}

// Ended counts a deployment that reached its end.
func (m *Metrics) Ended(o deployment.Outcome) {
	if m != nil {
		m.ended.WithLabelValues(string(o)).Inc()
	}
}

// Cutover records how long a cutover's write took.
func (m *Metrics) Cutover(v deployment.Move) {
	if m != nil && !v.Written.IsZero() {
		m.cutover.Observe(v.Written.Sub(v.Decided).Seconds())
	}
}

// Rollback records how long a rollback's write took and, when a trigger asked
// for it, how long the decision took.
func (m *Metrics) Rollback(v deployment.Move) {
	if m == nil || v.Written.IsZero() {
		return
	}
	cause := causeCommand
	if !v.Detected.IsZero() {
		cause = causeTrigger
		m.detect.Observe(v.Decided.Sub(v.Detected).Seconds())
	}
	m.rollback.WithLabelValues(cause).Observe(v.Written.Sub(v.Decided).Seconds())
}

// Command counts a command taken. A verb that is not known counts as
// "unknown": what people put into KV must not make series.
func (m *Metrics) Command(v kv.Verb, accepted bool) {
	if m == nil {
		return
	}
	if !v.Known() {
		v = "unknown"
	}
	m.commands.WithLabelValues(string(v), map[bool]string{true: "accepted", false: "refused"}[accepted]).Inc()
}

// Policies sets how many policies are loaded and how many mistakes there are.
func (m *Metrics) Policies(loaded, mistakes int) {
	if m != nil {
		m.policies.Set(float64(loaded))
		m.policyErrors.Set(float64(mistakes))
	}
}

// Reload counts a reload of config or policies.
func (m *Metrics) Reload(ok bool) {
	if m != nil {
		m.reloads.WithLabelValues(map[bool]string{true: "ok", false: "refused"}[ok]).Inc()
	}
}

// Receiver makes the series of a receiver of notices. Their names are the
// config's, so they are few.
func (m *Metrics) Receiver(name string, results []string) {
	if m != nil {
		for _, result := range results {
			m.notices.WithLabelValues(name, result)
		}
	}
}

// Notice counts what became of a notice, or of a try to tell it.
func (m *Metrics) Notice(receiver, result string) {
	if m != nil {
		m.notices.WithLabelValues(receiver, result).Inc()
	}
}

// NoticesWaiting sets how many notices are owed to somebody.
func (m *Metrics) NoticesWaiting(n int) {
	if m != nil {
		m.waiting.Set(float64(n))
	}
}

// AuditWritten counts lines of the audit file.
func (m *Metrics) AuditWritten(lines int) {
	if m != nil {
		m.auditLines.WithLabelValues().Add(float64(lines))
	}
}

// AuditLost counts events that the audit file had no room for.
func (m *Metrics) AuditLost(events int) {
	if m != nil {
		m.auditLost.WithLabelValues().Add(float64(events))
	}
}

// AuditFailing says whether the audit file cannot be written.
func (m *Metrics) AuditFailing(failing bool) {
	if m != nil {
		m.auditFailing.Set(zeroOne(failing))
	}
}

// ConsulError counts a failed request to Consul. operation is a word of the
// adapter's own, such as "renew" or "write", never a key.
func (m *Metrics) ConsulError(operation string) {
	if m != nil {
		m.consulErrors.WithLabelValues(operation).Inc()
	}
}

// NomadError counts a failed request to Nomad.
func (m *Metrics) NomadError(operation string) {
	if m != nil {
		m.nomadErrors.WithLabelValues(operation).Inc()
	}
}

// handler serves the registry in the text and OpenMetrics forms.
func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: requestTimeout - time.Second})
}

func zeroOne(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
