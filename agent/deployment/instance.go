package deployment

import (
	"net"
	"strconv"
)

// Health is an instance's health as Consul aggregates its checks.
type Health string

// Consul's own check states, worst last.
const (
	Passing  Health = "passing"
	Warning  Health = "warning"
	Critical Health = "critical"
)

// Instance is one registered instance of a service, as Consul knows it.
type Instance struct {
	ID      string // Consul's service ID
	Node    string
	Address string // host or IP the instance serves on
	Port    int
	Colour  Colour // from the service's teal_colour meta; None when it has none
	Health  Health
	Meta    map[string]string `json:",omitempty"`
}

// HostPort is the instance's address as a dialer takes it.
func (i Instance) HostPort() string {
	return net.JoinHostPort(i.Address, strconv.Itoa(i.Port))
}

// Serving says whether Consul lets traffic reach the instance: Connect routes
// to passing and warning instances alike.
func (i Instance) Serving() bool { return i.Health == Passing || i.Health == Warning }
