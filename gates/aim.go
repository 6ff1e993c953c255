package gates

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/tealdeploy/teal/agent/deployment"
)

// at is where an instance is asked: host:port with its own port, or with another
// one of the same address unless that is 0. Two colours may share a machine, and so
// another port may be the active colour's: where Consul knows of such an instance,
// nothing is asked.
func (t Target) at(i deployment.Instance, port int) (string, error) {
	if port != 0 {
		i.Port = port
	}
	if i.Address == "" || i.Port == 0 {
		return "", errors.New("its address and port are not in Consul")
	}
	for _, other := range t.Others {
		if other.Address == i.Address && other.Port == i.Port {
			return "", fmt.Errorf("port %d of %s is that of %s, an instance of %s, which serves: it is not the candidate; leave port out, or give the candidate's", i.Port, i.Address, other.ID, t.Serving)
		}
	}
	return net.JoinHostPort(i.Address, strconv.Itoa(i.Port)), nil
}
