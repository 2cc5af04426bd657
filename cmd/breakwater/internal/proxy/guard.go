package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/loopback"
)

var foreignHost = refusal{http.StatusMisdirectedRequest, "host", "the Host of the request is no name of this proxy: use localhost or 127.0.0.1, or add the name to hosts in the configuration", 0}

// inadmissible returns why a request is refused whoever sent it, or nil.
func (s *settings) inadmissible(r *http.Request) *refusal {
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return &refusal{http.StatusMethodNotAllowed, "method_not_allowed", "this is no forward proxy", 0}
	case r.Host == "":
		return &refusal{http.StatusBadRequest, "host", "the request has no Host", 0}
	case r.URL.Host != "" && !loopback.IsHost(hostOf(r.URL.Host)) && !s.hosts[hostOf(r.URL.Host)]:
		// Another host's URL is in the request line (RFC 9112, section 3.2.2).
		return &refusal{http.StatusMisdirectedRequest, "host", "this is no forward proxy: the request is meant for another host", 0}
	case s.hosts != nil && !loopback.IsHost(hostOf(r.Host)) && !s.hosts[hostOf(r.Host)]:
		// A web page may have a name of its own that leads to this machine (DNS rebinding).
		return &foreignHost
	}
	return nil
}

// allowOrigin refuses requests that a web page of another origin makes, and answers the preflight
// requests of those that may. It reports whether the request was answered.
//
// A browser asks before it sends most cross-origin requests, but not before a POST of text/plain. So
// it is not enough to leave the headers of CORS out.
func (x *exchange) allowOrigin() bool {
	origin := x.r.Header["Origin"]
	trusted := len(origin) == 1 && slices.Contains(x.settings.config.Origins, origin[0])
	h := x.w.Header()
	if trusted {
		h["Access-Control-Allow-Origin"], h["Vary"] = origin, []string{"Origin"}
		h["Access-Control-Expose-Headers"] = []string{"X-Request-Id, Retry-After, Breakwater-Endpoint, Breakwater-Outcome, Breakwater-Error"}
	}
	if x.r.Method == http.MethodOptions && trusted && len(x.r.Header["Access-Control-Request-Method"]) > 0 {
		h["Access-Control-Allow-Methods"] = []string{"GET, POST"}
		if asked := x.r.Header["Access-Control-Request-Headers"]; len(asked) == 1 {
			h["Access-Control-Allow-Headers"] = []string{strings.ToLower(asked[0])}
		}
		h["Access-Control-Max-Age"] = []string{"600"}
		x.w.WriteHeader(http.StatusNoContent)
		return true
	}
	foreign := len(origin) > 0 && !trusted && !slices.ContainsFunc(origin, func(o string) bool { return o == "http://"+x.r.Host || o == "https://"+x.r.Host })
	if foreign || x.settings.cross.Check(x.r) != nil {
		x.refuse(refusal{http.StatusForbidden, "origin", "a web page may not use this proxy: if it is your own, add its origin to origins in the configuration", 0})
		return true
	}
	return false
}
