package gates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/agent/redact"
)

// maxHealth bounds the answer to a health check, which has two bytes.
const maxHealth = 4 << 10

// GRPC is the gate of kind "grpc": the standard health check of gRPC
// (grpc.health.v1.Health/Check) of the candidate's instances.
//
// SERVING passes. NOT_SERVING, a service that is not registered, and an instance
// that does not answer fail the look. UNKNOWN, an instance without a health
// service and one that asks who is there say nothing: the look is on hold.
type GRPC struct {
	Every   string
	Service string       // empty: the server as a whole
	Port    int          // 0: the instance's own
	TLS     *measure.TLS `json:",omitempty"`
}

func decodeGRPC(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	g := GRPC{Every: EveryInstance}
	d := hclbody.New(`gate "grpc"`, eval)
	d.String("every", &g.Every, hclbody.OneOf(EveryInstance, EveryAny))
	d.String("service", &g.Service)
	d.Int("port", &g.Port, hclbody.Within(1, 65535))
	d.Block("tls")
	d.Elsewhere(shared...)
	d.Decode(body)
	g.TLS = measure.TLSIn(d, eval)
	if strings.HasPrefix(g.Service, "/") || !validHeaderValue(g.Service) {
		d.Errorf("service", "Not a service's name", "%q is no full name of a service, such as \"shop.v1.Orders\".", g.Service)
	}
	return g, d.Diagnostics()
}

// Check implements Gate.
func (g GRPC) Check(ctx context.Context, target Target) (Finding, error) {
	if reason := unready(target, g.Every); reason != "" {
		return Finding{Reason: reason}, nil
	}
	config, err := ask.TLS(g.TLS.Settings())
	if err != nil {
		return Finding{}, err
	}
	return each{
		every: g.Every, what: g.what(), port: g.Port, secure: g.TLS != nil, tls: g.TLS,
		ask: func(ctx context.Context, host string) answer { return g.ask(ctx, host, config) },
	}.judge(ctx, target)
}

func (g GRPC) what() string {
	if g.Service == "" {
		return "health of the gRPC server"
	}
	return fmt.Sprintf("health of the gRPC service %q", redact.Cut(redact.Line(g.Service), maxExcerpt))
}

// ask opens a connection of its own, which proves that a new one is accepted.
func (g GRPC) ask(ctx context.Context, host string, config *tls.Config) (a answer) {
	failure := &failure{}
	secure := insecure.NewCredentials()
	if g.TLS != nil {
		secure = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient("passthrough:///"+host,
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
			return conn, failure.note(err)
		}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), // nothing comes between
		grpc.WithMaxHeaderListSize(maxHeader), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxHealth)),
		grpc.WithUserAgent("teal-gate"),
	)
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close() //nolint:errcheck // there is nothing left to lose
	began := time.Now()
	said, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: g.Service})
	a = g.read(ctx, said.GetStatus(), err, failure)
	a.took = time.Since(began)
	return a
}

// read gives the verdict's words for a status or an error.
func (g GRPC) read(ctx context.Context, said healthpb.HealthCheckResponse_ServingStatus, err error, failure *failure) answer {
	if err == nil {
		a := answer{health: said.String()}
		switch said {
		case healthpb.HealthCheckResponse_SERVING:
		case healthpb.HealthCheckResponse_NOT_SERVING:
			a.wrong = "answered NOT_SERVING"
		case healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
			a.wrong = g.unregistered()
		case healthpb.HealthCheckResponse_UNKNOWN:
			a.unknown = "answered UNKNOWN: it does not know its own health yet"
		default:
			a.unknown = fmt.Sprintf("answered the status %d, which is none of the protocol's", said)
		}
		return a
	}
	if cause := failure.last(); cause != nil && ctx.Err() == nil {
		return answer{err: cause}
	}
	told := status.Convert(err)
	words := redact.Cut(redact.Line(told.Message()), maxExcerpt)
	switch told.Code() {
	case codes.NotFound:
		return answer{health: "NOT_FOUND", wrong: g.unregistered()}
	case codes.Unimplemented:
		return answer{health: "UNIMPLEMENTED", unknown: "does not implement grpc.health.v1.Health, the standard health check, and so cannot be asked (" + words + ")"}
	case codes.Unauthenticated, codes.PermissionDenied:
		return answer{health: told.Code().String(), unknown: fmt.Sprintf("does not answer everybody: %s: %s", told.Code(), words)}
	case codes.DeadlineExceeded:
		return answer{err: context.DeadlineExceeded}
	case codes.Canceled:
		return answer{err: context.Canceled}
	case codes.Unavailable: // there was a connection, and it did not hold
		if g.TLS == nil && strings.Contains(words, "error reading server preface") {
			words += " (it speaks TLS there, which a block tls is for, or another protocol)"
		}
		return answer{err: errors.New(words)}
	}
	return answer{wrong: fmt.Sprintf("answered %s: %s", told.Code(), words)}
}

func (g GRPC) unregistered() string {
	return fmt.Sprintf("does not know the service %q: service has to be a name that is registered with its health server", redact.Cut(redact.Line(g.Service), maxExcerpt))
}

// failure is why there was no connection. The errors that gRPC gives have but its
// words, from which it cannot be told whose fault it is.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) note(err error) error {
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
	}
	return err
}

func (f *failure) last() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
