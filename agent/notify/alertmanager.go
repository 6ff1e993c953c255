package notify

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// alertmanager fires and resolves alerts by Alertmanager's API v2.
type alertmanager struct {
	url     secret
	token   secret
	labels  map[string]string
	expires time.Duration
}

func declareAlertmanager(d *hclbody.Decoder, dir string) func() Sender {
	a := &alertmanager{expires: 24 * time.Hour}
	a.url.declare(d, "url", dir)
	a.token.declare(d, "bearer_token", dir)
	d.StringMap("labels", &a.labels)
	d.Duration("expires", &a.expires)
	return func() Sender {
		checkTarget(d, &a.url, false)
		a.token.check(d, true)
		for _, name := range slices.Sorted(maps.Keys(a.labels)) {
			if !labelName.MatchString(name) {
				d.Errorf("labels", "Wrong label", "%q cannot name a label of an alert.", name)
			}
		}
		return a
	}
}

// labelName is what Prometheus takes.
var labelName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// alerts names the alert of each incident, and how severe it is: labels tell
// alerts apart, so they are the same when it ends.
var alerts = map[Incident]struct {
	name     string
	severity Severity
}{
	Rollback: {"TealRollback", Critical},
	Hold:     {"TealHeld", Warning},
	Weak:     {"TealWayBackWeakened", Warning},
}

// Send implements Sender.
func (a *alertmanager) Send(ctx context.Context, n Notice) error {
	target, header, secrets, err := resolve(&a.url, &a.token, nil)
	if err != nil {
		return err
	}
	labels := map[string]string{"service": n.Service, "alertname": alerts[n.Incident].name, "severity": string(alerts[n.Incident].severity)}
	maps.Copy(labels, a.labels)
	until := n.At
	if !n.Ends {
		until = time.Now().UTC().Add(a.expires)
	}
	annotations := map[string]string{"summary": n.Title(), "description": n.Reason, "deployment": n.Deployment, "by": n.By, "event": string(n.Event), "event_severity": string(n.Severity)}
	maps.DeleteFunc(annotations, func(_, v string) bool { return v == "" })
	// The path is Alertmanager's own; a URL may have a prefix before it.
	base, query, _ := strings.Cut(target, "?")
	target = strings.TrimSuffix(base, "/") + "/api/v2/alerts"
	if query != "" {
		target += "?" + query
	}
	return post(ctx, target, header, []map[string]any{{
		"labels": labels, "annotations": annotations,
		"startsAt": n.At.Format(time.RFC3339Nano), "endsAt": until.Format(time.RFC3339Nano),
	}}, secrets...)
}
