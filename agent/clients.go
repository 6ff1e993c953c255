package agent

import (
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/settings"
)

// newConsul makes the client that everything shares. A token file is not left
// to the api package, which would read it only now, and fail where it is not
// there yet. It would take the environment's instead of none: hence an empty
// one. renewed is called when another token takes the place of one that was in
// use; it must not wait.
func newConsul(s *settings.Settings, m *api.Metrics, log hclog.Logger, renewed func()) (*consul.Client, error) {
	config := consul.Config{API: s.ConsulConfig(), Failures: m.ConsulError}
	if path := config.API.TokenFile; path != "" {
		config.Token = TokenOf(path, log, renewed)
		config.API.Token, config.API.TokenFile = "", os.DevNull
	}
	return consul.New(config)
}

// newNomad makes the client that everything shares.
func newNomad(s *settings.Settings, m *api.Metrics, log hclog.Logger) (*nomad.Client, error) {
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
	if err != nil {
		return nil, err
	}
	client = client.Counting(m.NomadError)
	if path == "" {
		return client, nil
	}
	return client.WithToken(TokenOf(path, log, nil)), nil
}
