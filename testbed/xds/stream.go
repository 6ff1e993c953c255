package xds

import (
	"context"
	"maps"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// envoyVersion is the proxy we say we are: Consul refuses those too old for it.
var envoyVersion = &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 34, Patch: 1}

// stream is one conversation of delta ADS.
type stream struct {
	ads        discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	subscribed map[string]map[string]bool         // by type; wildcards are not in here
	held       *discoveryv3.DeltaDiscoveryRequest // acknowledgement of clusters
}

func openStream(ctx context.Context, conn *grpc.ClientConn, proxy, caller, token string) (*stream, error) {
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-consul-token", token)
	}
	ads, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	s := &stream{
		ads:        ads,
		subscribed: map[string]map[string]bool{endpointType: {}, routeType: {}},
	}
	node := &corev3.Node{
		Id:            proxy,
		Cluster:       caller,
		UserAgentName: "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{
			UserAgentBuildVersion: &corev3.BuildVersion{Version: envoyVersion},
		},
	}
	for _, kind := range []string{clusterType, listenerType} { // no names: wildcards
		if err := ads.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: kind}); err != nil {
			return nil, err
		}
		node = nil // once a stream
	}
	return s, nil
}

// next receives a response, applies it, acknowledges it and subscribes to
// what it newly names. A resource that cannot be read is refused, as Envoy
// does, and what was known stays. The time is that of arrival.
func (s *stream) next(known *state) (kind string, at time.Time, err error) {
	response, err := s.ads.Recv()
	if err != nil {
		return "", time.Time{}, err
	}
	at, kind = time.Now(), response.GetTypeUrl()
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kind, ResponseNonce: response.GetNonce()}
	if err := known.apply(response); err != nil {
		ack.ErrorDetail = &statusv1.Status{Code: 3, Message: err.Error()} // invalid argument
	}
	if kind == clusterType {
		s.held = ack
	} else if err := s.ads.Send(ack); err != nil {
		return "", time.Time{}, err
	}
	if err := s.subscribe(known.wanted()); err != nil {
		return "", time.Time{}, err
	}
	return kind, at, s.acknowledgeClusters(known)
}

// acknowledgeClusters sends the acknowledgement of clusters once all of them
// have their endpoints, as Envoy does: Consul holds back the routes that may
// lead to them until then.
func (s *stream) acknowledgeClusters(known *state) error {
	if s.held == nil || !known.warmed() {
		return nil
	}
	ack := s.held
	s.held = nil
	return s.ads.Send(ack)
}

func (s *stream) subscribe(wanted map[string]map[string]bool) error {
	for _, kind := range []string{endpointType, routeType} {
		request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kind}
		for name := range wanted[kind] {
			if !s.subscribed[kind][name] {
				request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, name)
			}
		}
		for name := range s.subscribed[kind] {
			if !wanted[kind][name] {
				request.ResourceNamesUnsubscribe = append(request.ResourceNamesUnsubscribe, name)
			}
		}
		if len(request.ResourceNamesSubscribe)+len(request.ResourceNamesUnsubscribe) == 0 {
			continue
		}
		slices.Sort(request.ResourceNamesSubscribe)
		slices.Sort(request.ResourceNamesUnsubscribe)
		s.subscribed[kind] = maps.Clone(wanted[kind])
		if err := s.ads.Send(request); err != nil {
			return err
		}
	}
	return nil
}
