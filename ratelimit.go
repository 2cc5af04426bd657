package breakwater

import (
	"errors"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A rateLimiter is the rate-limit layer of an endpoint. It sends an attempt when the
// limits of the account allow it, and holds the attempt's lease until the end of the body.
type rateLimiter struct {
	next   http.RoundTripper
	limits *limit.Limits
}

// newRateLimiter returns the layer of an endpoint that has these limits.
func newRateLimiter(limits *limit.Limits) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return &rateLimiter{next, limits}
	}
}

// RoundTrip sends the attempt when its limiter allows it.
func (r *rateLimiter) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	limiter := r.limits.Get(a.model)
	if limiter == nil {
		return r.next.RoundTrip(req)
	}
	lease := new(attemptLease)
	switch err := limiter.Acquire(req.Context(), &lease.Lease, a.call.params.EstimateUse(a.buffer.Bytes())); {
	case errors.Is(err, limit.ErrLimited):
		return nil, &exchange.Failure{Class: ClassLimited, Err: ErrRateLimited}
	case err != nil:
		return nil, err
	}
	if !a.onFinish(lease) {
		return nil, outcome.ErrOutrun
	}
	a.queued = time.Since(a.Start)
	return r.next.RoundTrip(req)
}

// An attemptLease is the lease of an attempt. It is not a part of the attempt, because
// most users set no limits and it would make every attempt larger.
type attemptLease struct{ limit.Lease }

// finish implements finisher: it returns the lease.
func (l *attemptLease) finish(a *attempt, class Class) {
	a.mu.Lock()
	status, said, used := int(a.status), int(a.statedLimit), a.used
	a.mu.Unlock()
	l.End(limit.Result{
		Served:   class == ClassOK,
		Refused:  outcome.Overloaded(class, status),
		Begun:    a.Start,
		Stated:   said,
		Answered: outcome.Of(class).Answered,
		Tokens:   used.TotalTokens,
	})
}

// newLimits returns the limits of an endpoint's account, from those of all accounts. The
// policy other is for models for which the endpoint has no policy of its own.
func newLimits(all *limit.Table, e Endpoint, other RatePolicy) *limit.Limits {
	policies := make(map[string]limit.Policy, len(e.Limits))
	for model, p := range e.Limits {
		policies[model] = limit.Policy(p)
	}
	return all.Limits(e.Account, policies, limit.Policy(other))
}
