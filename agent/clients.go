package agent

import (
	"context"
	"net/http"
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
// back at the end.
func newConsul(s *settings.Settings, m *api.Metrics, log hclog.Logger, renewed func()) (*consul.Client, func(context.Context) error, error) {
	return ConsulAccess{
		Config: s.ConsulConfig, Method: s.Consul.AuthMethod, JWTFile: s.Consul.JWTFile, Failures: m.ConsulError, Renewed: renewed,
	}.Open(log)
}

// ConsulAccess is how who outlives a token reaches Consul: the token's file is
// read again, or a JWT is shown for another token.
type ConsulAccess struct {
	Config  func() *consulapi.Config // another one each time
	Method  string                   // an auth method of the type jwt; empty: the token, or its file, is Config's
	JWTFile string                   // with what to log in at Method
	// Failures is as of consul.Config, and Renewed as of TokenOf; both may be nil.
	Failures func(operation string)
	Renewed  func()
}

// Open makes a client, and what gives its token back at the end. A token file is
// not left to the api package, which would read it only now, and fail where it is
// not there yet. It would take the environment's instead of none: hence an empty
// one.
func (a ConsulAccess) Open(log hclog.Logger) (client *consul.Client, logOut func(context.Context) error, err error) {
	logOut = func(context.Context) error { return nil }
	config := consul.Config{API: a.Config(), Failures: a.Failures}
	switch path := config.API.TokenFile; {
	case a.Method != "":
		if config.Over, logOut, err = a.logIn(log); err != nil {
			return nil, nil, err
		}
	case path != "":
		config.Token = TokenOf(path, log, a.Renewed)
	}
	if config.Token != nil || config.Over != nil {
		config.API.Token, config.API.TokenFile = "", os.DevNull
	}
	client, err = consul.New(config)
	return client, logOut, err
}

// logIn is what requests go over, to carry a token that is had by the JWT, and what
// gives that back.
func (a ConsulAccess) logIn(log hclog.Logger) (over func(http.RoundTripper) http.RoundTripper, logOut func(context.Context) error, err error) {
	plain := a.Config()
	plain.Token, plain.TokenFile = "", os.DevNull
	anonymous, err := consul.New(consul.Config{API: plain, Failures: a.Failures})
	if err != nil {
		return nil, nil, err
	}
	logins := consul.NewLogins(anonymous)
	keeper := login.New(login.Config{
		Server: logins, Name: "Consul", Method: a.Method, File: a.JWTFile,
		Header: consul.TokenHeader, Renewed: a.Renewed, Log: log,
	})
	return keeper.Transport, func(ctx context.Context) error {
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
