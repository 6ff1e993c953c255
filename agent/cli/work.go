package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/worker"
)

// runWorker is worker.Run on a client of its own; tests replace it.
var runWorker = func(ctx context.Context, cfg worker.Config, access agent.ConsulAccess) (int, error) {
	client, logOut, err := access.Open(cfg.Log)
	if err != nil {
		return exitError, err
	}
	code, err := worker.Run(ctx, cfg, client)
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := logOut(leaving); err != nil {
		cfg.Log.Warn("not logged out; the token ends by itself, if it does", "error", err)
	}
	return code, err
}

// farewell bounds how long a worker that has ended waits for Consul.
const farewell = 2 * time.Second

type workCommand struct {
	meta
	w      worker.Config
	colour string
	access agent.ConsulAccess
}

func (c *workCommand) options() *options {
	o := newOptions()
	o.leading = true
	o.add("Work options", func(set *flagSet) {
		set.StringVar(&c.w.Service, "service", os.Getenv("TEAL_SERVICE"), "The `service` whose jobs the worker processes; also TEAL_SERVICE.")
		set.StringVar(&c.colour, "colour", os.Getenv("ENVIRONMENT_NAME"), "The `colour` this worker belongs to; also ENVIRONMENT_NAME, which Teal sets in every job.")
		set.DurationVar(&c.w.KillTimeout, "kill-timeout", worker.DefaultKillTimeout, "How long the worker may finish what it has begun after SIGTERM, as a `duration`; then it is killed. Defaults to 20s; keep it below the policy's handover_deadline.")
		set.BoolVar(&c.noColor, "no-color", false, "Print without colour. NO_COLOR does the same.")
	})
	o.add("Consul options", func(set *flagSet) {
		c.consul.define(set)
		set.StringVar(&c.access.Method, "auth-method", "", "The auth `method` of type jwt to log in at for a token, instead of having one. Needs -jwt-file.")
		set.StringVar(&c.access.JWTFile, "jwt-file", "", "A `file` with the JWT to log in with, such as the workload identity that Nomad renews; read at each login.")
	})
	return o
}

func (c *workCommand) Synopsis() string { return "Run a worker only while its colour owns the jobs" }

func (c *workCommand) Help() string {
	return c.help(`
Usage: teal work [options] [--] <command> [args]

  Run a background worker only while its colour may process jobs. The command
  is started when the colour owns them; when it no longer does, it gets
  SIGTERM, finishes what it has begun, and only then may the other colour
  begin. While Consul is away nothing is started, and what runs stops before
  its lock could be given to somebody else.

  In a Nomad job:

      config {
        command = "teal"
        args    = ["work", "-service", "api", "--", "bin/worker", "-v"]
      }`, c.options())
}

func (c *workCommand) AutocompleteArgs() complete.Predictor { return complete.PredictFiles("*") }
func (c *workCommand) AutocompleteFlags() complete.Flags {
	f := c.options().predict()
	f["-service"] = c.predictServices()
	return f
}

func (c *workCommand) Run(args []string) int {
	args, ok := c.parse("work", c.options(), args, 0, -1)
	if !ok {
		return exitError
	}
	colour, err := deployment.ParseColour(strings.TrimSpace(c.colour))
	switch {
	case c.w.Service == "":
		err = errors.New("which service's jobs? Give -service")
	case c.colour == "":
		err = errors.New("which colour does this worker belong to? Give -colour, or set ENVIRONMENT_NAME as Teal does in its jobs")
	case err != nil:
	case len(args) == 0:
		err = errors.New("no command to run")
	case (c.access.Method == "") != (c.access.JWTFile == ""):
		err = errors.New("-auth-method says where to log in, and -jwt-file with what: give both, or neither")
	case c.access.Method != "" && (c.consul.token != "" || c.consul.tokenFile != ""):
		err = errors.New("there are two ways to a token: give -auth-method and -jwt-file, or -token or -token-file")
	case c.w.KillTimeout <= 0:
		err = errors.New("-kill-timeout must be more than 0")
	default:
		err = serviceName(c.w.Service)
	}
	if err != nil {
		c.term.fail("%v. 'teal work -h' shows how.", err)
		return exitError
	}
	c.w.Colour, c.w.Command, c.w.Keys = colour, args, c.consul.keys()
	c.w.Stdin, c.w.Stdout, c.w.Stderr = os.Stdin, file(c.term.out), file(c.term.err)
	c.w.Log = hclog.New(&hclog.LoggerOptions{Name: "teal.work", Output: c.term.err, Level: hclog.Info})
	c.access.Config = c.consul.config
	code, err := runWorker(c.ctx, c.w, c.access)
	if err != nil && !errors.Is(err, context.Canceled) {
		c.term.fail("%v", err)
		return max(code, exitError)
	}
	return code
}

// file is the file behind a writer: a worker inherits it. nil when there is
// none.
func file(w io.Writer) *os.File {
	f, _ := w.(*os.File)
	return f
}
