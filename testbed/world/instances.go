package world

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/testbed/cluster"
)

// Instance is one instance of a service in Consul.
type Instance struct {
	ID, Address string // Address is host:port
	Colour      string // of the service meta; empty for a job that Teal did not start
	Health      string // passing, warning or critical
}

// Instances are all instances of a service in Consul.
func (w *World) Instances(ctx context.Context, service string) ([]Instance, error) {
	all, _, err := w.instances(ctx, service, 0)
	return all, err
}

func (w *World) instances(ctx context.Context, service string, index uint64) ([]Instance, uint64, error) {
	q := (&consulapi.QueryOptions{WaitIndex: index, WaitTime: 30 * time.Second}).WithContext(ctx)
	entries, meta, err := w.ConsulClient().Health().Service(service, "", false, q)
	if err != nil {
		return nil, 0, err
	}
	var all []Instance
	for _, e := range entries {
		all = append(all, Instance{
			ID: e.Service.ID, Address: fmt.Sprintf("%s:%d", e.Service.Address, e.Service.Port),
			Colour: e.Service.Meta["teal_colour"], Health: e.Checks.AggregatedStatus(),
		})
	}
	slices.SortFunc(all, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	return all, meta.LastIndex, nil
}

// AwaitInstances waits by blocking queries until a service's instances are as
// wanted.
func (w *World) AwaitInstances(ctx context.Context, service string, wanted func([]Instance) bool) error {
	var last []Instance
	for index := uint64(0); ; {
		all, next, err := w.instances(ctx, service, index)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("instances of %s: %w; last known: %v", service, context.Cause(ctx), last)
		case err != nil:
			if !pause(ctx, 50*time.Millisecond) {
				continue
			}
			index = 0
		default:
			if last = all; wanted(all) {
				return nil
			}
			if next < index {
				next = 0
			}
			index = next
		}
	}
}

// Passing counts the instances of a colour that pass their checks.
func Passing(all []Instance, colour string) int {
	n := 0
	for _, i := range all {
		if i.Colour == colour && i.Health == consulapi.HealthPassing {
			n++
		}
	}
	return n
}

// Fault tells every instance of a colour to misbehave, or to behave again with
// the kind none.
func (w *World) Fault(ctx context.Context, service, colour, kind string) error {
	all, err := w.Instances(ctx, service)
	if err != nil {
		return err
	}
	told := 0
	for _, i := range all {
		if i.Colour != colour {
			continue
		}
		if err := FaultAt(ctx, i.Address, kind); err != nil {
			return err
		}
		told++
	}
	if told == 0 {
		return fmt.Errorf("%s has no instance of colour %q to give the fault %s to", service, colour, kind)
	}
	return nil
}

// FaultAt tells one instance to misbehave: kind, or kind:rate.
func FaultAt(ctx context.Context, address, fault string) error {
	kind, rate, _ := strings.Cut(fault, ":")
	form := url.Values{"kind": {kind}, "rate": {rate}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/fault", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("fault %s at %s: %w", fault, address, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("fault %s at %s: %s", fault, address, response.Status)
	}
	return nil
}

// Job reads a Nomad job, nil when there is none.
func (w *World) Job(ctx context.Context, id string) (*nomadapi.Job, error) {
	job, _, err := w.NomadClient().Jobs().Info(id, (&nomadapi.QueryOptions{}).WithContext(ctx))
	var status nomadapi.UnexpectedResponseError
	if errors.As(err, &status) && status.StatusCode() == http.StatusNotFound {
		return nil, nil
	}
	return job, err
}

// Running lists the IDs of a job's running allocations, sorted.
func (w *World) Running(ctx context.Context, job string) ([]string, error) {
	allocs, _, err := w.NomadClient().Jobs().Allocations(job, true, (&nomadapi.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range allocs {
		if a.ClientStatus == nomadapi.AllocClientStatusRunning && a.DesiredStatus == nomadapi.AllocDesiredStatusRun {
			ids = append(ids, a.ID)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// AwaitRunning is Running, once so many of them run: Nomad's servers hear a moment
// later than Consul that an instance does.
func (w *World) AwaitRunning(ctx context.Context, job string, count int) (ids []string, err error) {
	err = cluster.Await(ctx, func(ctx context.Context) (err error) {
		if ids, err = w.Running(ctx, job); err == nil && len(ids) < count {
			err = fmt.Errorf("%d of %d allocations of %s run", len(ids), count, job)
		}
		return err
	})
	return ids, err
}
