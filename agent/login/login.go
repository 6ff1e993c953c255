// Package login keeps a token that is had by showing who one is: by logging in
// at an auth method of Consul's or Nomad's with a JWT in a file, as Nomad gives
// to a workload and renews. It logs in when a request needs it: at the first,
// when a token nears its end, and when the server does not know the token any
// more. The file is read at each login, so that a renewed identity is what is
// shown. It knows neither Consul nor Nomad, and decides nothing.
package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/plainfile"
)

const (
	// limit bounds one login, with the wait until the token is known everywhere.
	limit = 15 * time.Second
	// gap is how long nobody tries after a login has failed: who needs it asks
	// again by himself.
	gap = time.Second
	// look is how often it is asked whether a new token is known yet. Servers
	// tell each other within milliseconds.
	look = 50 * time.Millisecond
	// maxJWT bounds the file, in bytes.
	maxJWT = 64 << 10
)

// Token is what a login gives.
type Token struct {
	Secret   string
	Accessor string        // its public name
	Life     time.Duration // 0: it does not end by itself
}

// Server is where one logs in.
type Server interface {
	// LogIn shows a JWT to an auth method.
	LogIn(ctx context.Context, method, jwt string) (Token, error)
	// Knows says whether a token is one of the server's. An error means that it
	// did not say.
	Knows(ctx context.Context, secret string) (bool, error)
}

// Config is what it takes to log in.
type Config struct {
	Server Server
	Name   string // of the server, for people: Consul
	Method string // the auth method
	File   string // the JWT, and nothing else
	Header string // that a request carries the token in
	// Renewed, when set, is called when another token has taken the place of
	// one that was in use. It must not wait.
	Renewed func()
	Log     hclog.Logger
}

// Keeper keeps one token. It is safe for concurrent use.
type Keeper struct {
	Config
	turn chan struct{} // held by whoever logs in

	mu     sync.Mutex
	secret string
	used   bool      // a token was in use before
	renew  time.Time // when another one is due; zero: never
	end    time.Time // when it is no longer good; zero: never
	failed error     // why the last login came to nothing
	next   time.Time // not before is it tried again
	told   bool
}

// New makes a keeper. It asks nobody: neither server nor file need be there yet.
func New(c Config) *Keeper { return &Keeper{Config: c, turn: make(chan struct{}, 1)} }

// token is the one to use now; where there is none, the error says why.
func (k *Keeper) token(ctx context.Context) (string, error) {
	if secret, due, err := k.have(); !due {
		return secret, err
	} else if secret != "" { // still good: one renews it, and nobody waits for him but himself
		select {
		case k.turn <- struct{}{}:
		default:
			return secret, nil
		}
	} else if err := k.wait(ctx); err != nil {
		return "", err
	}
	secret, due, err := k.have() // meanwhile somebody else may have logged in
	if !due {
		k.done()
		return secret, err
	}
	if other, err := k.logIn(ctx); err == nil {
		return other, nil
	} else if secret == "" {
		return "", err
	}
	return secret, nil
}

// instead is the token to use after one was refused: empty when the server
// knows that one, or does not say. The error is that no other can be had.
func (k *Keeper) instead(ctx context.Context, refused string) (string, error) {
	if err := k.wait(ctx); err != nil {
		return "", err
	}
	k.mu.Lock()
	secret, next, failed := k.secret, k.next, k.failed
	k.mu.Unlock()
	switch {
	case secret != refused && secret != "":
		k.done()
		return secret, nil
	case secret == "" && time.Now().Before(next):
		k.done()
		return "", failed
	}
	if known, err := k.Server.Knows(ctx, refused); known || err != nil {
		k.done()
		return "", nil
	}
	k.Log.Info("the token is not known any more; logging in again", "method", k.Method)
	k.mu.Lock()
	k.secret = ""
	k.mu.Unlock()
	return k.logIn(ctx)
}

// have is the token in use, if it is still good, and whether it is time to log
// in. Nobody is to log in soon after a failure, which is then the error.
func (k *Keeper) have() (secret string, due bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.end.IsZero() || now.Before(k.end) {
		secret = k.secret
	}
	due = secret == "" || !k.renew.IsZero() && !now.Before(k.renew)
	if due && now.Before(k.next) {
		due = false
		if secret == "" {
			err = k.failed
		}
	}
	return secret, due, err
}

// logIn gets another token. The caller has the turn, and gives it away. A login
// goes on when whoever needed it gives up: it may have been answered already, and
// a token that nobody knows of would be left at the server.
func (k *Keeper) logIn(ctx context.Context) (string, error) {
	type outcome struct {
		secret string
		err    error
	}
	came := make(chan outcome, 1)
	go func() {
		defer k.done()
		secret, err := k.another(context.WithoutCancel(ctx))
		came <- outcome{secret, err}
	}()
	select {
	case o := <-came:
		return o.secret, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// another is a new token, which everybody uses from now on.
func (k *Keeper) another(ctx context.Context) (string, error) {
	t, err := k.ask(ctx)
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("log in at %s's auth method %q by %s: %w", k.Name, k.Method, k.File, err)
		k.failed, k.next = err, now.Add(gap)
		if !k.told {
			k.told = true
			k.Log.Warn("cannot log in; trying again", "error", err)
		}
		return "", err
	}
	k.Log.Info("logged in", "method", k.Method, "accessor", t.Accessor, "life", t.Life.String())
	if k.used && k.Renewed != nil {
		k.Renewed()
	}
	k.used = true
	k.secret, k.failed, k.next, k.told = t.Secret, nil, time.Time{}, false
	k.renew, k.end = time.Time{}, time.Time{}
	if t.Life > 0 {
		k.renew, k.end = now.Add(t.Life*2/3), now.Add(t.Life)
	}
	return t.Secret, nil
}

// ask logs in and waits until the token can be used: the server that is asked
// next may not have heard of it yet.
func (k *Keeper) ask(ctx context.Context) (Token, error) {
	text, err := plainfile.Read(k.File, maxJWT)
	if err != nil {
		return Token{}, err
	}
	jwt := strings.TrimSpace(string(text))
	if jwt == "" {
		return Token{}, errors.New("the file is empty")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t, err := k.Server.LogIn(ctx, k.Method, jwt)
	if err != nil {
		return Token{}, err
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		known, err := k.Server.Knows(ctx, t.Secret)
		if known {
			return t, nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = errors.New("the new token is not known")
			}
			return Token{}, err
		case <-tick.C:
		}
	}
}

// LastToken is the token in use, empty if there is none: for logging out. It
// waits for a login that is under way, for as long as ctx lasts.
func (k *Keeper) LastToken(ctx context.Context) string {
	if k.wait(ctx) == nil {
		defer k.done()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.secret
}

func (k *Keeper) wait(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keeper) done() { <-k.turn }
