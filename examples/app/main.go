// Command app is a small web service to release with Teal: it says which
// version and which colour answered, reports its health and its metrics, and
// can be told to misbehave. It is what the examples, the demo and the
// end-to-end tests deploy; it is not a template for a real service.
//
// Settings come from the environment, as Nomad gives them:
//
//	APP_VERSION           version to report (or -version)
//	ENVIRONMENT_NAME      colour to report; empty means "none"
//	NOMAD_ADDR_http       address to listen on (or -listen)
//	NOMAD_ALLOC_ID        instance to report; otherwise host name and pid
//	LOGIN_PASSWORD        of every user at /login, "teapot" by default
//	FAULT                 misbehaviour, "kind" or "kind:rate": see ParseFault
//	FAULT_AFTER_REQUESTS  ordinary requests to answer before FAULT begins
//	FAULT_DELAY           how late a slow answer is, 500ms by default
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then drains: answers carry "Connection: close",
// no new connection is taken and requests in flight are finished.
func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	flags := flag.NewFlagSet("app", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", or(getenv("NOMAD_ADDR_http"), "127.0.0.1:8080"), "address to listen on")
	version := flags.String("version", or(getenv("APP_VERSION"), "dev"), "version to report")
	drain := flags.Duration("drain", 10*time.Second, "longest time to finish requests in flight")
	if err := flags.Parse(args); err != nil {
		return err
	}
	fault, err := faultFromEnv(getenv)
	if err != nil {
		return err
	}
	app := New(Identity{
		Version:  *version,
		Colour:   or(getenv("ENVIRONMENT_NAME"), "none"),
		Instance: or(getenv("NOMAD_ALLOC_ID"), instance()),
	}, or(getenv("LOGIN_PASSWORD"), "teapot"), fault)
	app.Exit = os.Exit

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "%s %s (%s) listening on %s\n", app.id.Colour, app.id.Version, app.id.Instance, listener.Addr())

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	app.Drain()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), *drain)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// faultFromEnv reads the fault switches; a mistyped one is an error rather
// than an app that quietly behaves.
func faultFromEnv(getenv func(string) string) (Fault, error) {
	fault, err := ParseFault(getenv("FAULT"))
	if err != nil {
		return Fault{}, fmt.Errorf("FAULT: %w", err)
	}
	if s := getenv("FAULT_AFTER_REQUESTS"); s != "" {
		if fault.After, err = strconv.ParseInt(s, 10, 64); err != nil || fault.After < 0 {
			return Fault{}, fmt.Errorf("FAULT_AFTER_REQUESTS: %q is not a count", s)
		}
	}
	if s := getenv("FAULT_DELAY"); s != "" {
		if fault.Delay, err = time.ParseDuration(s); err != nil || fault.Delay < 0 {
			return Fault{}, fmt.Errorf("FAULT_DELAY: %q is not a duration such as 500ms", s)
		}
	}
	return fault, nil
}

func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
