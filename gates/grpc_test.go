package gates_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// grpcApp starts an instance that speaks gRPC, with this health service or none.
func grpcApp(t *testing.T, service healthpb.HealthServer, config *tls.Config) deployment.Instance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(options...)
	if service != nil {
		healthpb.RegisterHealthServer(server, service)
	}
	go server.Serve(l) //nolint:errcheck // ends with Stop
	t.Cleanup(server.Stop)
	return instanceAt(t, l.Addr().String())
}

// healthy is the standard health service with these statuses.
func healthy(statuses map[string]healthpb.HealthCheckResponse_ServingStatus) healthpb.HealthServer {
	s := health.NewServer()
	for name, is := range statuses {
		s.SetServingStatus(name, is)
	}
	return s
}

// checks is a health service that answers with a function.
type checks struct {
	healthpb.UnimplementedHealthServer
	check func(ctx context.Context, service string) (*healthpb.HealthCheckResponse, error)
}

func (c checks) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return c.check(ctx, r.GetService())
}

func responds(is healthpb.HealthCheckResponse_ServingStatus, err error) healthpb.HealthServer {
	return checks{check: func(context.Context, string) (*healthpb.HealthCheckResponse, error) {
		return &healthpb.HealthCheckResponse{Status: is}, err
	}}
}

func grpcGate(t *testing.T, body string) gates.Gate {
	t.Helper()
	n, diags := decode(t, "gate \"grpc\" \"health\" {\n"+body+"\n}\n")
	if diags.HasErrors() {
		t.Fatalf("%s\n%s", body, diags)
	}
	return n.Gate
}

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
)

// Each answer that the health check of gRPC knows, and each way not to give one,
// has its verdict and says why.
func TestGRPCHealth(t *testing.T) {
	orders := healthy(map[string]healthpb.HealthCheckResponse_ServingStatus{"": notServing, "shop.v1.Orders": serving, "shop.v1.Basket": unknown})
	server := healthy(nil) // serves as a whole
	hangs := checks{check: func(ctx context.Context, _ string) (*healthpb.HealthCheckResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	refuses := func(code codes.Code, words string) healthpb.HealthServer {
		return responds(0, status.Error(code, words))
	}
	for name, c := range map[string]struct {
		body     string
		instance deployment.Instance
		verdict  gates.Verdict
		reason   string // of the finding, or of the error
		health   string
		hangs    bool
	}{
		"the server serves":              {``, grpcApp(t, server, nil), gates.Pass, "health of the gRPC server: 1 of 1 instances answered as expected", "SERVING", false},
		"the server does not":            {``, grpcApp(t, orders, nil), gates.Fail, "answered NOT_SERVING", "NOT_SERVING", false},
		"one service of it serves":       {`service = "shop.v1.Orders"`, grpcApp(t, orders, nil), gates.Pass, `health of the gRPC service "shop.v1.Orders": 1 of 1`, "SERVING", false},
		"one does not know yet":          {`service = "shop.v1.Basket"`, grpcApp(t, orders, nil), gates.Hold, "1 of 1 instances do not say: ", "UNKNOWN", false},
		"one is not registered":          {`service = "shop.v1.Order"`, grpcApp(t, orders, nil), gates.Fail, `does not know the service "shop.v1.Order": service has to be a name that is registered`, "NOT_FOUND", false},
		"one that only a watch may say":  {`service = "x"`, grpcApp(t, responds(healthpb.HealthCheckResponse_SERVICE_UNKNOWN, nil), nil), gates.Fail, `does not know the service "x"`, "SERVICE_UNKNOWN", false},
		"a status that is none":          {``, grpcApp(t, responds(17, nil), nil), gates.Hold, "answered the status 17, which is none of the protocol's", "17", false},
		"no health service":              {``, grpcApp(t, nil, nil), gates.Hold, "does not implement grpc.health.v1.Health, the standard health check", "UNIMPLEMENTED", false},
		"wants to know who asks":         {``, grpcApp(t, refuses(codes.Unauthenticated, "no token"), nil), gates.Hold, "does not answer everybody: Unauthenticated: no token", "Unauthenticated", false},
		"does not like who asks":         {``, grpcApp(t, refuses(codes.PermissionDenied, "not you"), nil), gates.Hold, "does not answer everybody: PermissionDenied: not you", "PermissionDenied", false},
		"fails":                          {``, grpcApp(t, refuses(codes.Internal, "no\n\x1b[31mdatabase"), nil), gates.Fail, "answered Internal: no .[31mdatabase", "", false},
		"hangs":                          {``, grpcApp(t, hangs, nil), gates.Fail, "did not answer: context deadline exceeded", "", true},
		"nobody listens":                 {``, instanceAt(t, fmt.Sprintf("127.0.0.1:%d", closedPort(t))), gates.Fail, "did not answer: dial tcp 127.0.0.1:", "", false},
		"accepts and says nothing":       {``, raw(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), gates.Fail, "did not answer: context deadline exceeded", "", true},
		"hangs up":                       {``, raw(t, says("")), gates.Fail, "did not answer: ", "", false},
		"says nonsense":                  {``, raw(t, says("SSH-2.0-OpenSSH_9.9\r\n"+strings.Repeat("x", 100))), gates.Fail, "error reading server preface", "", false},
		"speaks HTTP/1":                  {``, app(t, answers(200, "")), gates.Fail, "it speaks TLS there, which a block tls is for, or another protocol", "", false},
		"speaks TLS":                     {``, tlsApp(t), gates.Fail, "it speaks TLS there, which a block tls is for, or another protocol", "", false},
		"speaks HTTP/2, and no gRPC":     {"tls {\ninsecure_skip_verify = true\n}", tlsApp(t), gates.Fail, "answered Unknown: ", "", false},
		"speaks no TLS where it should":  {`tls {}`, grpcApp(t, server, nil), gates.Fail, "does not speak TLS there", "", false},
		"an error that does not end":     {``, grpcApp(t, refuses(codes.Internal, strings.Repeat("x", 100_000)), nil), gates.Fail, "answered Internal: xxx", "", false},
		"an answer that does not end":    {``, grpcApp(t, endless{}, nil), gates.Fail, "received message larger than max", "", false},
		"headers that do not end":        {``, grpcApp(t, manyHeaders{}, nil), gates.Fail, "answered Internal: stream terminated by RST_STREAM", "", false},
		"its address is not in Consul":   {``, deployment.Instance{ID: "api-1", Health: deployment.Passing}, gates.Hold, "its address and port are not in Consul", "", false},
		"is not ready to be asked":       {``, deployment.Instance{ID: "api-1", Health: deployment.Critical}, gates.Hold, "0 of 1 instances of api green are ready to be asked", "", false},
		"nobody has heard of its status": {``, grpcApp(t, refuses(99, "what"), nil), gates.Fail, "answered Code(99): what", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 20 * time.Second
			if c.hangs {
				timeout = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			finding, err := grpcGate(t, c.body).Check(ctx, green(c.instance))
			reason := finding.Reason
			if err != nil {
				reason = err.Error()
			}
			if finding.Verdict != c.verdict || !strings.Contains(reason, c.reason) || finding.Figures["health"] != c.health {
				t.Errorf("got %s %q %v, want %s with %q of %q", finding.Verdict, reason, finding.Figures, c.verdict, c.reason, c.health)
			}
			if strings.Contains(reason, "\x1b") || len(reason) > 1000 {
				t.Errorf("%d bytes of a reason: %.300q", len(reason), reason)
			}
		})
	}
}

// endless answers with more than anybody can want to read.
type endless struct {
	healthpb.UnimplementedHealthServer
}

func (endless) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	r := &healthpb.HealthCheckResponse{Status: serving}
	r.ProtoReflect().SetUnknown(append([]byte{0x7a, 0x80, 0x80, 0x80, 0x01}, make([]byte, 1<<21)...)) // field 15, 2 MiB
	return r, nil
}

// manyHeaders answers with headers larger than anybody can want to read.
type manyHeaders struct {
	healthpb.UnimplementedHealthServer
}

func (manyHeaders) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	var pairs []string
	for i := range 100 {
		pairs = append(pairs, fmt.Sprintf("x-%d", i), strings.Repeat("x", 8<<10))
	}
	return &healthpb.HealthCheckResponse{Status: serving}, grpc.SetHeader(ctx, metadata.Pairs(pairs...))
}

// All instances have to serve, or any. One that does not say holds, unless
// another one's answer decides.
func TestGRPCOfSeveralInstances(t *testing.T) {
	good, bad := grpcApp(t, responds(serving, nil), nil), grpcApp(t, responds(notServing, nil), nil)
	silent, gone := grpcApp(t, nil, nil), deployment.Instance{ID: "api-0", Health: deployment.Passing}
	for _, c := range []struct {
		every     string
		instances []deployment.Instance
		verdict   gates.Verdict
		passed    string
	}{
		{"instance", []deployment.Instance{good, good}, gates.Pass, "2"},
		{"instance", []deployment.Instance{good, bad}, gates.Fail, "1"},
		{"instance", []deployment.Instance{good, silent}, gates.Hold, "1"},
		{"instance", []deployment.Instance{silent, bad}, gates.Fail, "0"},
		{"instance", []deployment.Instance{gone, bad, silent}, gates.Fail, "0"},
		{"instance", []deployment.Instance{gone, silent, good}, gates.Hold, "1"},
		{"any", []deployment.Instance{bad, silent, good}, gates.Pass, "1"},
		{"any", []deployment.Instance{bad, silent}, gates.Hold, "0"},
		{"any", []deployment.Instance{bad, bad}, gates.Fail, "0"},
	} {
		finding, _ := grpcGate(t, fmt.Sprintf("every = %q", c.every)).Check(t.Context(), green(c.instances...))
		if finding.Verdict != c.verdict || finding.Figures["passed"] != c.passed {
			t.Errorf("%s of %d: got %+v, want %s", c.every, len(c.instances), finding, c.verdict)
		}
	}
}

// The look's deadline is told to the instance, and a look that is broken off
// leaves nothing behind and is no evidence.
func TestGRPCEndsWithItsLook(t *testing.T) {
	told := make(chan bool, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	instance := grpcApp(t, checks{check: func(asked context.Context, _ string) (*healthpb.HealthCheckResponse, error) {
		_, ok := asked.Deadline()
		told <- ok
		cancel()
		<-asked.Done()
		return nil, asked.Err()
	}}, nil)
	finding, err := grpcGate(t, ``).Check(ctx, green(instance))
	if !errors.Is(err, context.Canceled) || finding.Verdict != gates.Hold || !<-told {
		t.Errorf("got %+v, %v", finding, err)
	}
	good := grpcApp(t, healthy(nil), nil)
	before := runtime.NumGoroutine()
	for range 20 {
		if f, err := grpcGate(t, ``).Check(t.Context(), green(good)); err != nil || f.Verdict != gates.Pass {
			t.Fatal(f, err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before+2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines more than before", runtime.NumGoroutine()-before)
		}
		time.Sleep(time.Millisecond)
	}
}
