package breakwater

import "net/http"

// A Middleware returns a RoundTripper that wraps next: see [WithMiddleware] and
// [WithAttemptMiddleware].
type Middleware func(next http.RoundTripper) http.RoundTripper

// A RoundTripperFunc is a function that is used as an http.RoundTripper.
type RoundTripperFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f RoundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Chain returns base wrapped in the middlewares. The first one is the outermost.
func Chain(base http.RoundTripper, mws ...Middleware) http.RoundTripper {
	for i := len(mws) - 1; i >= 0; i-- {
		base = mws[i](base)
	}
	return base
}
