package agent

import (
	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/controller"
	"github.com/tealdeploy/teal/agent/notify"
	"github.com/tealdeploy/teal/agent/scrape"
	"github.com/tealdeploy/teal/agent/traffic"
)

// store is Consul KV as the controller sees it: it reads with the client and
// writes only behind the fence.
type store struct {
	*consul.Client
	consul.Store
}

func newController(a *Agent) *controller.Controller {
	scope := func(namespace, partition string) traffic.Consul { return a.consul.In(namespace, partition) }
	routers := make(map[string]traffic.Router, len(traffic.Kinds))
	for kind, router := range traffic.Kinds {
		routers[kind] = router(scope)
	}
	var told controller.Chronicle
	if a.audit != nil {
		told = chronicle{a.audit}
	}
	var teller controller.Teller
	if len(a.settings.Notify.Receivers) > 0 {
		teller = notify.New(notify.Config{
			Receivers: a.settings.Notify.Receivers, Keys: a.keys, Store: store{a.consul, consul.Store{KV: a.consul}},
			Meter: a.metrics, Log: a.log.Named("notify"),
		})
	}
	return controller.New(controller.Config{
		Name:        a.settings.Name,
		Keys:        a.keys,
		Store:       store{a.consul, consul.Store{KV: a.consul}},
		Catalog:     a.consul,
		Nomad:       func(region string) controller.Nomad { return a.nomad.In(region) },
		Routers:     routers,
		Scraper:     scrape.New(scrape.Config{}),
		Ask:         ask.Query,
		Meter:       a.metrics,
		Chronicle:   told,
		Teller:      teller,
		Log:         a.log.Named("controller"),
		HistoryKeep: a.settings.History.Keep,
		MayExec:     a.settings.Gates.Exec,
	})
}
