package notify

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// chat tells people by whatever the shoutrrr library reaches: Slack, Teams,
// Discord, Matrix, mail and more. The library takes no context, and some of its
// services wait for ever; so a try that has run out of time goes on by itself,
// and there is never a second one beside it.
type chat struct {
	url  secret
	busy chan struct{} // holds one while a try is under way
}

func declareShoutrrr(d *hclbody.Decoder, dir string) func() Sender {
	c := &chat{busy: make(chan struct{}, 1)}
	c.url.declare(d, "url", dir)
	return func() Sender {
		c.url.check(d, false)
		if c.url.value == "" {
			return c
		}
		if _, err := located(c.url.value); err != nil {
			d.Errorf("url", "Wrong URL", "shoutrrr does not take it: %s. It is not shown here, for it holds a secret.", err)
		}
		return c
	}
}

// located finds the service of a URL. The library's own error may hold the URL.
func located(target string) (types.Service, error) {
	service, err := (&router.ServiceRouter{}).Locate(target)
	if err != nil {
		return nil, errors.New(shown(err.Error(), target))
	}
	return service, nil
}

var errBusy = errors.New("the last try has not come back yet")

// Send implements Sender.
func (c *chat) Send(ctx context.Context, n Notice) error {
	target, err := c.url.read()
	if err != nil {
		return err
	}
	service, err := located(target)
	if err != nil {
		return err
	}
	select {
	case c.busy <- struct{}{}:
	default:
		return errBusy
	}
	done := make(chan error, 1)
	go func() {
		err := deliver(service, target, n)
		<-c.busy
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return errors.New(shown(err.Error(), target))
		}
		return nil
	case <-ctx.Done():
		return errors.New("no answer in time")
	}
}

// deliver keeps what a service does with a strange answer to itself.
func deliver(service types.Service, target string, n Notice) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the library gave up")
		}
	}()
	params := types.Params{}
	if u, err := url.Parse(target); err == nil && strings.HasPrefix(u.Scheme, "smtp") {
		params.SetTitle(n.Title())
	}
	return service.Send(n.Text(), &params)
}
