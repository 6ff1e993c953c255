package agent

import (
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/settings"
)

// newConsul makes the client that everything shares. A token file is not left
// to the api package, which would read it only now.
func newConsul(s *settings.Settings, log hclog.Logger) (*consul.Client, error) {
	config := consul.Config{API: s.ConsulConfig()}
	if path := config.API.TokenFile; path != "" {
		config.Token = newTokenFile(path, log).token
		config.API.Token, config.API.TokenFile = "", ""
	}
	return consul.New(config)
}

// newNomad makes the client that everything shares.
func newNomad(s *settings.Settings, log hclog.Logger) (*nomad.Client, error) {
	without := *s
	without.Nomad.TokenFile = ""
	config, err := without.NomadConfig()
	if err != nil {
		return nil, err
	}
	path := s.Nomad.TokenFile
	if path != "" {
		config.SecretID = ""
	}
	client, err := nomad.New(config)
	if err != nil || path == "" {
		return client, err
	}
	return client.WithToken(newTokenFile(path, log).token), nil
}
