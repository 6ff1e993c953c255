package xds

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
)

// defaultTimeout is Envoy's for a route that says nothing.
const defaultTimeout = 15 * time.Second

// outbound is how an upstream's listener gets at its routes: by the name of
// an RDS resource, by routes of its own, or by one TCP target.
type outbound struct {
	rds    string
	inline *routev3.RouteConfiguration
	tcp    string
}

// decodeListener gives ok false for a listener that is not an upstream's.
func decodeListener(l *listenerv3.Listener) (out outbound, ok bool, err error) {
	if l.GetTrafficDirection() != corev3.TrafficDirection_OUTBOUND {
		return outbound{}, false, nil
	}
	for _, chain := range l.GetFilterChains() {
		for _, filter := range chain.GetFilters() {
			config := filter.GetTypedConfig()
			switch {
			case config.MessageIs((*hcmv3.HttpConnectionManager)(nil)):
				var manager hcmv3.HttpConnectionManager
				if err := proto.Unmarshal(config.GetValue(), &manager); err != nil {
					return outbound{}, false, fmt.Errorf("listener %s: %w", l.GetName(), err)
				}
				return outbound{rds: manager.GetRds().GetRouteConfigName(), inline: manager.GetRouteConfig()}, true, nil
			case config.MessageIs((*tcpv3.TcpProxy)(nil)):
				var proxy tcpv3.TcpProxy
				if err := proto.Unmarshal(config.GetValue(), &proxy); err != nil {
					return outbound{}, false, fmt.Errorf("listener %s: %w", l.GetName(), err)
				}
				return outbound{tcp: proxy.GetCluster()}, true, nil
			}
		}
	}
	return outbound{}, false, nil
}

func decodeRoutes(config *routev3.RouteConfiguration) []Route {
	var routes []Route
	for _, host := range config.GetVirtualHosts() {
		for _, r := range host.GetRoutes() {
			routes = append(routes, decodeRoute(r))
		}
	}
	return routes
}

func decodeRoute(r *routev3.Route) Route {
	action, match := r.GetRoute(), r.GetMatch()
	out := Route{
		Path:          decodePath(match),
		Timeout:       defaultTimeout,
		PrefixRewrite: action.GetPrefixRewrite(),
	}
	if action.GetTimeout() != nil {
		out.Timeout = action.GetTimeout().AsDuration()
	}
	for _, h := range match.GetHeaders() {
		m := Match{Kind: Present}
		if h.GetStringMatch() != nil {
			m = decodeString(h.GetStringMatch())
		}
		out.Headers = append(out.Headers, Condition{Name: h.GetName(), Match: m, Invert: h.GetInvertMatch()})
	}
	for _, q := range match.GetQueryParameters() {
		m := Match{Kind: Present}
		if q.GetStringMatch() != nil {
			m = decodeString(q.GetStringMatch())
		}
		out.Query = append(out.Query, Condition{Name: q.GetName(), Match: m})
	}
	if name := action.GetCluster(); name != "" {
		out.Targets = []Target{{Cluster: name, Weight: 1}}
	}
	for _, c := range action.GetWeightedClusters().GetClusters() {
		out.Targets = append(out.Targets, Target{Cluster: c.GetName(), Weight: c.GetWeight().GetValue()})
	}
	if policy := action.GetRetryPolicy(); policy != nil {
		out.Retry = Retry{On: strings.Split(policy.GetRetryOn(), ","), Codes: policy.GetRetriableStatusCodes(), Times: 1}
		if policy.GetNumRetries() != nil {
			out.Retry.Times = policy.GetNumRetries().GetValue()
		}
	}
	out.RequestHeaders = Headers{Set: map[string]string{}, Add: map[string]string{}, Remove: r.GetRequestHeadersToRemove()}
	for _, h := range r.GetRequestHeadersToAdd() {
		if h.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			out.RequestHeaders.Set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		} else {
			out.RequestHeaders.Add[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
	}
	return out
}

func decodePath(m *routev3.RouteMatch) Match {
	out := Match{Kind: Prefix, Value: m.GetPrefix()}
	switch m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Path:
		out = Match{Kind: Exact, Value: m.GetPath()}
	case *routev3.RouteMatch_SafeRegex:
		out = regexMatch(m.GetSafeRegex().GetRegex())
	}
	out.IgnoreCase = m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	return out
}

func decodeString(m *matcherv3.StringMatcher) Match {
	out := Match{}
	switch m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out = Match{Kind: Exact, Value: m.GetExact()}
	case *matcherv3.StringMatcher_Prefix:
		out = Match{Kind: Prefix, Value: m.GetPrefix()}
	case *matcherv3.StringMatcher_Suffix:
		out = Match{Kind: Suffix, Value: m.GetSuffix()}
	case *matcherv3.StringMatcher_SafeRegex:
		out = regexMatch(m.GetSafeRegex().GetRegex())
	}
	out.IgnoreCase = m.GetIgnoreCase()
	return out
}

func decodeEndpoints(assignment *endpointv3.ClusterLoadAssignment) []Endpoint {
	var out []Endpoint
	for _, locality := range assignment.GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			socket := e.GetEndpoint().GetAddress().GetSocketAddress()
			status := e.GetHealthStatus()
			out = append(out, Endpoint{
				Address: net.JoinHostPort(socket.GetAddress(), strconv.FormatUint(uint64(socket.GetPortValue()), 10)),
				Healthy: status == corev3.HealthStatus_HEALTHY || status == corev3.HealthStatus_UNKNOWN,
			})
		}
	}
	return out
}
