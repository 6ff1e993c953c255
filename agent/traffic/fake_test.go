package traffic

import "github.com/tealdeploy/teal/agent/consul/consultest"

// fakeConsul is an empty Consul; one for each test.
func fakeConsul() Consul { return consultest.New().Client("agent") }
