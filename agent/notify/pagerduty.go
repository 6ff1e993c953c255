package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// pagerDuty triggers and resolves incidents by PagerDuty's Events API v2.
type pagerDuty struct {
	url secret
	key secret
}

// pagerDutyURL is where PagerDuty takes events, from its documentation.
const pagerDutyURL = "https://events.pagerduty.com/v2/enqueue"

func declarePagerDuty(d *hclbody.Decoder, dir string) func() Sender {
	p := &pagerDuty{}
	p.key.declare(d, "routing_key", dir)
	p.url.declare(d, "url", dir)
	return func() Sender {
		p.key.check(d, false)
		checkTarget(d, &p.url, true)
		if !p.url.given() {
			p.url.value = pagerDutyURL
		}
		return p
	}
}

// Send implements Sender. All notices of one incident carry the same dedup_key,
// so that a repeated one changes nothing.
func (p *pagerDuty) Send(ctx context.Context, n Notice) error {
	target, _, _, err := resolve(&p.url, &secret{}, nil)
	if err != nil {
		return err
	}
	key, err := p.key.read()
	if err != nil {
		return err
	}
	action := "trigger"
	if n.Ends {
		action = "resolve"
	}
	return post(ctx, target, nil, map[string]any{
		"routing_key":  key,
		"event_action": action,
		"dedup_key":    fmt.Sprintf("teal/%s/%s", n.Service, n.Incident),
		"client":       "teal",
		"payload": map[string]any{
			"summary":        cut(n.Title()+": "+n.Reason, 1000), // PagerDuty takes 1,024 characters
			"source":         n.Service,
			"severity":       string(n.Severity),
			"timestamp":      n.At.Format(time.RFC3339Nano),
			"component":      n.Service,
			"group":          n.Deployment,
			"class":          string(n.Event),
			"custom_details": n,
		},
	}, key)
}
