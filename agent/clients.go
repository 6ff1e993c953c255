package agent

import (
	"context"
	"os"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/login"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/settings"
)

// newConsul makes the client that everything shares, and what gives its token
// back at the end. A token file is not left to the api package, which would
// read it only now, and fail where it is not there yet. It would take the
// environment's instead of none: hence an empty one. renewed is called when
// another token takes the place of one that was in use; it must not wait.
func newConsul(s *settings.Settings, m *api.Metrics, log hclog.Logger, renewed func()) (*consul.Client, func(context.Context) error, error) {
	logOut := func(context.Context) error { return nil }
	config := consul.Config{API: s.ConsulConfig(), Failures: m.ConsulError}
	if path := config.API.TokenFile; path != "" {
		config.Token = TokenOf(path, log, renewed)
	}
	if s.Consul.AuthMethod != "" {
		var err error
		if logOut, err = LogIn(&config, s.ConsulConfig(), s.Consul.AuthMethod, s.Consul.JWTFile, log, renewed); err != nil {
			return nil, nil, err
		}
	}
	if config.Token != nil || config.Over != nil {
		config.API.Token, config.API.TokenFile = "", os.DevNull
	}
	client, err := consul.New(config)
	return client, logOut, err
}

// LogIn has the requests of a client that is still to be made carry a token that
// is had by showing the JWT in a file to an auth method of Consul's. plain says
// how Consul is reached, once more, and is used up; renewed is as of TokenOf. It
// gives what gives the token back at the end.
func LogIn(config *consul.Config, plain *consulapi.Config, method, file string, log hclog.Logger, renewed func()) (logOut func(context.Context) error, err error) {
	plain.Token, plain.TokenFile = "", os.DevNull
	anonymous, err := consul.New(consul.Config{API: plain, Failures: config.Failures})
	if err != nil {
		return nil, err
	}
	logins := consul.NewLogins(anonymous)
	keeper := login.New(login.Config{
		Server: logins, Name: "Consul", Method: method, File: file,
		Header: consul.TokenHeader, Renewed: renewed, Log: log,
	})
	config.Over = keeper.Transport
	return func(ctx context.Context) error {
		if secret := keeper.LastToken(ctx); secret != "" {
			return logins.LogOut(ctx, secret)
		}
		return nil
	}, nil
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
	switch {
	case s.Nomad.AuthMethod != "":
		keeper := login.New(login.Config{
			Server: nomad.NewLogins(client), Name: "Nomad", Method: s.Nomad.AuthMethod, File: s.Nomad.JWTFile,
			Header: nomad.TokenHeader, Log: log,
		})
		if config, err = without.NomadConfig(); err != nil { // the client has changed its own
			return nil, err
		}
		if client, err = nomad.NewOver(config, keeper.Transport); err != nil {
			return nil, err
		}
		return client.Counting(m.NomadError), nil
	case path != "":
		return client.WithToken(TokenOf(path, log, nil)), nil
	}
	return client, nil
}
