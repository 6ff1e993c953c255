// Command backend is an instance that speaks what the example app does not: gRPC
// with the standard health service, and TLS that wants to see a certificate of
// whoever asks. End-to-end tests put gates and triggers to it.
//
// Settings come from the environment, as Nomad gives them:
//
//	NOMAD_ADDR_http  address to listen on
//	SPEAKS           grpc or http
//	HEALTH           what its health service says: SERVING, NOT_SERVING, UNKNOWN,
//	                 or none for a server without that service
//	CERT_FILE        certificate to show; empty: no TLS
//	KEY_FILE         its key
//	CLIENT_CA_FILE   whom a client's certificate has to be signed by
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "backend:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := tlsConfig(os.Getenv("CERT_FILE"), os.Getenv("KEY_FILE"), os.Getenv("CLIENT_CA_FILE"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", os.Getenv("NOMAD_ADDR_http"))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	var end func()
	switch speaks := os.Getenv("SPEAKS"); speaks {
	case "grpc":
		server, err := grpcServer(os.Getenv("HEALTH"), config)
		if err != nil {
			return err
		}
		end = server.Stop
		go func() { served <- server.Serve(listener) }()
	case "http":
		server := &http.Server{
			ReadHeaderTimeout: 10 * time.Second, TLSConfig: config, Handler: &counted{},
		}
		end = func() { _ = server.Close() } // ends with the process
		go func() {
			if config != nil {
				served <- server.ServeTLS(listener, "", "")
				return
			}
			served <- server.Serve(listener)
		}()
	default:
		return fmt.Errorf("SPEAKS is %q: expected grpc or http", speaks)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		end()
		<-served
		return nil
	}
}

func grpcServer(says string, config *tls.Config) (*grpc.Server, error) {
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(options...)
	if says == "none" {
		return server, nil
	}
	status, ok := healthpb.HealthCheckResponse_ServingStatus_value[says]
	if !ok {
		return nil, fmt.Errorf("HEALTH is %q: expected SERVING, NOT_SERVING, UNKNOWN or none", says)
	}
	checks := health.NewServer()
	checks.SetServingStatus("", healthpb.HealthCheckResponse_ServingStatus(status))
	healthpb.RegisterHealthServer(server, checks)
	return server, nil
}

func tlsConfig(cert, key, clients string) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(clients)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no certificate in %s", clients)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"}}, nil
}
