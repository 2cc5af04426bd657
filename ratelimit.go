package breakwater

import (
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A rateLimiter is the rate-limit layer of an endpoint. It sends an attempt when the
// limits of the account allow it, and holds the attempt's lease until the end of the body.
type rateLimiter struct {
	next   http.RoundTripper
	limits *limit.Limits
}

// newRateLimiter returns the layer of an endpoint that has these limits. Without limits
// there is no such layer.
func newRateLimiter(limits *limit.Limits) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		if limits.Off() {
			return next
		}
		return &rateLimiter{next, limits}
	}
}

// RoundTrip sends the attempt when its limiter allows it.
func (r *rateLimiter) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	if a.call.isSafe() { // hosts limit what models do
		return r.next.RoundTrip(req)
	}
	limiter := a.call.limiter(a.endpoint, a.model)
	if limiter == nil {
		return r.next.RoundTrip(req)
	}
	use := limit.Use{
		Waited: time.Duration(a.call.queued.Load()) * time.Millisecond, Rested: time.Duration(a.rested) * time.Millisecond,
		Caller: a.call.turns(), Host: &a.endpoint.Load, Again: a.n > 1, Throttled: a.throttled,
	}
	if limiter.CountsTokens() {
		use.Prompt, use.Answer = wire.EstimateTokens(a.buffer.Bytes()), a.call.params.MaxTokens
	}
	lease := new(attemptLease)
	renewal := a.call.renewal
	isSpare := renewal.isSpare()
	var err error
	if isSpare {
		err = limiter.AcquireSpare(&lease.Lease, use, renewal.giveWay)
	} else {
		err = limiter.Acquire(req.Context(), &lease.Lease, use)
	}
	a.call.queued.Add(int32(min(time.Since(a.Start).Milliseconds(), math.MaxInt32/64)))
	switch {
	case errors.Is(err, limit.ErrLimited):
		f := &exchange.Failure{Class: ClassLimited, Err: ErrRateLimited, KeepsTier: isSpare || !limiter.Spills()}
		if full, ok := errors.AsType[*limit.Error](err); ok {
			f.Err = &LimitError{
				Account: a.endpoint.Account, Model: a.model, Limit: full.Limit,
				InUse: full.InUse, Max: full.Max, Waiting: full.Waiting, RetryAfter: full.RetryAfter,
			}
		}
		return nil, f
	case err != nil:
		return nil, err
	}
	if a.isToRest(time.Now()) {
		lease.Cancel()
		return nil, &exchange.Failure{Class: ClassPaused, Err: outcome.ErrPaused}
	}
	if !a.keepLease(lease) {
		return nil, outcome.ErrOutrun
	}
	a.queued = time.Since(a.Start)
	return r.next.RoundTrip(req)
}

// A spendLimiter is the layer of an endpoint that sends nothing when the money is spent.
type spendLimiter struct {
	next http.RoundTripper
	*price.Spending
}

// newSpendLimiter returns the layer. Without a policy there is none.
func newSpendLimiter(s *price.Spending) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		if s == nil {
			return next
		}
		return &spendLimiter{next, s}
	}
}

// RoundTrip sends the attempt if there is money for it, or if it costs none.
func (l *spendLimiter) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	rate := a.endpoint.rateOf(a.call.op, a.model)
	if a.call.isSafe() || rate != nil && rate.IsFree() {
		return l.next.RoundTrip(req)
	}
	if over, spent := l.Over(a.endpoint.Account, time.Now()); spent {
		return nil, &exchange.Failure{Class: ClassSpent, Err: &SpendError{
			Account: over.Account, Spent: over.Spent, Max: over.Max, Currency: over.Currency.String(), RetryAfter: over.Left,
		}}
	}
	return l.next.RoundTrip(req)
}

// newLimits returns the limits of an endpoint's account, which the payer stands for, from those
// of all accounts. The policy other is for models for which the endpoint has no policy of its own.
func newLimits(all *limit.Table, e Endpoint, payer string, other RatePolicy) *limit.Limits {
	policies := make(map[string]limit.Policy, len(e.Limits))
	for model, p := range e.Limits {
		policies[model] = limit.Policy(p)
	}
	return all.Limits(e.Account, payer, policies, limit.Policy(other))
}
