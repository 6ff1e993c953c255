package consultest_test

import (
	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/controller"
	"github.com/tealdeploy/teal/agent/joblock"
	"github.com/tealdeploy/teal/agent/leader"
	"github.com/tealdeploy/teal/agent/traffic"
	"github.com/tealdeploy/teal/agent/worker"
)

// Whoever asks something of Consul can be given the fake.
var (
	_ controller.Store   = (*consultest.Client)(nil)
	_ controller.Catalog = (*consultest.Client)(nil)
	_ joblock.Store      = (*consultest.Client)(nil)
	_ leader.Consul      = (*consultest.Client)(nil)
	_ traffic.Consul     = (*consultest.Client)(nil)
	_ worker.Consul      = (*consultest.Client)(nil)
	_ consul.Transactor  = (*consultest.Client)(nil)
)
