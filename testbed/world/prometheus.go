package world

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/servers"
)

// Prometheus is a server that scrapes all instances of one service, as it finds
// them in Consul: each series has the labels service and colour.
type Prometheus struct {
	*cluster.Server
	URL string
}

// StartPrometheus runs one and waits until it answers. It ends with the cluster.
func (s *Site) StartPrometheus(ctx context.Context, service string) (*Prometheus, error) {
	binary, err := servers.Prometheus(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	port, err := s.Port()
	if err != nil {
		return nil, err
	}
	name := "prometheus-" + s.Name
	config := fmt.Sprintf(`global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
scrape_configs:
  - job_name: mesh
    consul_sd_configs:
      - server: %q
        services: [%q]
        refresh_interval: 1s
    relabel_configs:
      - source_labels: [__meta_consul_service_metadata_teal_colour]
        target_label: colour
      - source_labels: [__meta_consul_service]
        target_label: service
`, s.Local.HTTP, service)
	if err := s.WriteFile("prometheus.yml", config); err != nil {
		return nil, err
	}
	p := &Prometheus{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}
	p.Server = s.Program(cluster.Program{
		Name: name, Path: binary.Path,
		Args: []string{
			"--config.file=" + filepath.Join(s.Dir, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(s.Dir, "prometheus"),
			fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--log.level=warn",
		},
		Ready: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/-/ready", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %d", name, resp.StatusCode)
			}
			return nil
		},
	})
	return p, p.Start(ctx)
}

// Knows waits until a query has a result.
func (p *Prometheus) Knows(ctx context.Context, query string) error {
	return cluster.Await(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/api/v1/query?query="+url.QueryEscape(query), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var said struct{ Data struct{ Result []any } }
		if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
			return err
		}
		if len(said.Data.Result) == 0 {
			return fmt.Errorf("%s has no result", query)
		}
		return nil
	})
}
