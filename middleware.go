package breakwater

import "net/http"

// A Middleware wraps a RoundTripper into another.
type Middleware func(next http.RoundTripper) http.RoundTripper

// RoundTripperFunc is a function as a RoundTripper.
type RoundTripperFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f RoundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Chain puts middlewares around base. The first is outermost.
func Chain(base http.RoundTripper, mws ...Middleware) http.RoundTripper {
	for i := len(mws) - 1; i >= 0; i-- {
		base = mws[i](base)
	}
	return base
}
