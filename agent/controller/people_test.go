package controller

import (
	"os"
	"path/filepath"

	consulapi "github.com/hashicorp/consul/api"
)

// addRoute is a person who edits the router by hand.
func (w *world) addRoute(path string) {
	w.Helper()
	e, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
	if err != nil || e == nil {
		w.Fatal(e, err)
	}
	router := *e.(*consulapi.ServiceRouterConfigEntry)
	router.Routes = append([]consulapi.ServiceRoute{{
		Match:       &consulapi.ServiceRouteMatch{HTTP: &consulapi.ServiceRouteHTTPMatch{PathPrefix: path}},
		Destination: &consulapi.ServiceRouteDestination{PrefixRewrite: "/"},
	}}, router.Routes...)
	if ok, err := w.people.SetEntry(w.Context(), &router, router.ModifyIndex); err != nil || !ok {
		w.Fatal(ok, err)
	}
}

func (w *world) hasRoute(path string) bool {
	w.Helper()
	e, err := w.people.Entry(w.Context(), consulapi.ServiceRouter, "api")
	if err != nil || e == nil {
		return false
	}
	for _, r := range e.(*consulapi.ServiceRouterConfigEntry).Routes {
		if r.Match != nil && r.Match.HTTP != nil && r.Match.HTTP.PathPrefix == path {
			return true
		}
	}
	return false
}

// removePolicy takes the service's policy away from every agent.
func (w *world) removePolicy() {
	w.Helper()
	if err := os.Remove(filepath.Join(w.dir, "api.hcl")); err != nil {
		w.Fatal(err)
	}
	for _, a := range w.agents {
		a.reload()
	}
}

// plant writes a record that no agent would.
func (w *world) plant(record string) {
	w.Helper()
	w.witness.mu.Lock()
	w.witness.planted[record] = true
	w.witness.mu.Unlock()
	if err := w.people.Put(w.Context(), w.keys.State("api"), []byte(record)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) hasPolicy() bool {
	_, err := os.Stat(filepath.Join(w.dir, "api.hcl"))
	return err == nil
}
