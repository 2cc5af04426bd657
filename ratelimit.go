package breakwater

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/breakwater-go/breakwater/internal/aimd"
	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/permits"
)

// RatePolicy bounds the attempts on one account and model. Hosts count a
// request until its answer is complete, so InFlight does, too.
type RatePolicy struct {
	// PerSecond attempts are let through, Burst at once. 0 or Off: unlimited.
	// Burst's default is PerSecond, rounded up.
	PerSecond float64
	Burst     int

	// TokensPerMinute bounds the tokens of prompts and answers: reserved by
	// DeepSeek's estimate and max_tokens, settled with the usage reported.
	// 0 or Off: unlimited.
	TokensPerMinute int

	// InFlight is how many attempts may be open at once, to the end of their
	// bodies. 0 or Off: unlimited.
	InFlight int

	// Adaptive lowers InFlight to what the host takes: down when it answers 429
	// or 503, to the number it gives if it gives one, and up again with what it
	// serves, never above InFlight. There is no limit before the first refusal.
	Adaptive bool

	// MaxWait is how long an attempt queues for the above, at most and within
	// the caller's deadline. One that is expected to wait longer does not begin
	// to: another endpoint is tried at once, or ErrRateLimited returned. Default
	// 5s; Off: not at all.
	MaxWait time.Duration
}

func (p RatePolicy) resolve(option string) (RatePolicy, error) {
	f := fields{option: option}
	resolveField(&f, "PerSecond", &p.PerSecond, 0)
	f.check(p.Burst >= 0, "Burst is %d: an attempt takes one token, so it must be at least 1", p.Burst)
	resolveField(&f, "Burst", &p.Burst, max(int(min(math.Ceil(p.PerSecond), math.MaxInt32)), 1))
	resolveField(&f, "TokensPerMinute", &p.TokensPerMinute, 0)
	resolveField(&f, "InFlight", &p.InFlight, 0)
	resolveField(&f, "MaxWait", &p.MaxWait, 5*time.Second)
	return p, f.err()
}

func (p RatePolicy) off() bool {
	return p.PerSecond == 0 && p.TokensPerMinute == 0 && p.InFlight == 0 && !p.Adaptive
}

// limit is the middleware: a permit to the end of the body first, then the
// buckets, so that who waits for a permit holds no tokens.
func limit(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		a := attemptOf(req.Context())
		l := a.endpoint.limits.of(a.model)
		if l == nil {
			return next.RoundTrip(req)
		}
		held := new(lease)
		switch err := l.acquire(req.Context(), held, a.call.params.EstimateUse(a.buffer.Bytes())); {
		case errors.Is(err, ErrRateLimited):
			return nil, &exchange.Failure{Class: ClassLimited, Err: err}
		case err != nil:
			return nil, err
		}
		if !a.onFinish(held) {
			return nil, outcome.ErrOutrun
		}
		a.queued = time.Since(a.Start)
		return next.RoundTrip(req)
	})
}

// limits finds an endpoint's limiters. Endpoints of one account find the same
// ones, so that they share what the account may do.
type limits struct {
	policies map[string]RatePolicy // of the endpoint, by model
	rest     RatePolicy
	account  string
	all      *limiters
}

// limiters are all limiters of a Transport.
type limiters = bounded.Map[limiterKey, *limiter]

type limiterKey struct{ account, model string }

// maxLimiters bounds the limiters of a Transport: model names come from callers.
const maxLimiters = 4096

// of returns model's limiter; nil where there is no limit.
func (ls *limits) of(model string) *limiter {
	p, ok := ls.policies[model]
	if !ok {
		p, ok = ls.policies[""]
	}
	if !ok {
		p = ls.rest
	}
	if p.off() {
		return nil
	}
	l := ls.all.GetOrAdd(limiterKey{ls.account, model}, func() *limiter { return newLimiter(p) })
	ls.all.Touch(&l.used)
	return l
}

// A limiter bounds the attempts on one model of one account.
type limiter struct {
	policy   RatePolicy
	permits  *permits.Pool // nil: unlimited
	adaptive *aimd.Limit   // of permits; nil: it does not change
	attempts *rate.Limiter
	tokens   *rate.Limiter
	used     atomic.Int64 // see bounded.Map
}

func newLimiter(p RatePolicy) *limiter {
	l := &limiter{policy: p}
	if p.InFlight > 0 || p.Adaptive {
		l.permits = permits.New(p.InFlight)
	}
	if p.Adaptive {
		l.adaptive = aimd.New(p.InFlight)
	}
	if p.PerSecond > 0 {
		l.attempts = rate.NewLimiter(rate.Limit(p.PerSecond), p.Burst)
	}
	if p.TokensPerMinute > 0 {
		l.tokens = rate.NewLimiter(rate.Limit(float64(p.TokensPerMinute)/60), p.TokensPerMinute)
	}
	return l
}

// worth is what would be lost with the limiter. One that nobody uses, whose
// buckets are full and that has learnt nothing is as good as a new one.
func (l *limiter) worth() bounded.Worth {
	w := bounded.Worth{Used: l.used.Load()}
	if l.permits != nil {
		out, waiting := l.permits.InUse()
		w.Busy = out > 0 || waiting > 0
	}
	for _, bucket := range [...]*rate.Limiter{l.attempts, l.tokens} {
		w.Known = w.Known || bucket != nil && bucket.Tokens() < float64(bucket.Burst())
	}
	w.Known = w.Known || l.adaptive != nil && l.adaptive.Size() != l.policy.InFlight
	return w
}

// adapts reports whether the number of permits follows the host's refusals,
// and can still follow.
func (l *limiter) adapts() bool { return l != nil && l.adaptive != nil && l.adaptive.Size() != 1 }

// free reports whether an attempt would not have to wait.
func (l *limiter) free(now time.Time) bool {
	return l == nil ||
		(l.permits == nil || l.permits.Free()) &&
			(l.attempts == nil || l.attempts.TokensAt(now) >= 1) &&
			(l.tokens == nil || l.tokens.TokensAt(now) >= 1)
}

// expected is about how long an attempt that came now would have to wait.
func (l *limiter) expected(now time.Time) time.Duration {
	var wait time.Duration
	if l.permits != nil {
		wait = l.permits.Expected()
	}
	for _, bucket := range [...]*rate.Limiter{l.attempts, l.tokens} {
		if bucket != nil {
			if missing := 1 - bucket.TokensAt(now); missing > 0 {
				wait = max(wait, ofSeconds(missing/float64(bucket.Limit())))
			}
		}
	}
	return wait
}

// bears reports whether an attempt that has to wait would be let in.
func (l *limiter) bears(now time.Time) bool {
	return l.policy.MaxWait > 0 && l.expected(now) <= l.policy.MaxWait
}

// acquire waits for a permit and the buckets, at most MaxWait in all. It
// refuses at once where the wait could not end in time.
func (l *limiter) acquire(ctx context.Context, got *lease, tokens int) error {
	now := time.Now()
	until := now.Add(l.policy.MaxWait)
	if deadline, ok := ctx.Deadline(); ok && !until.Before(deadline) {
		until = deadline.Add(-1) // a turn that comes with the deadline is too late
	}
	got.limiter = l
	if l.permits != nil {
		switch err := l.permits.Acquire(ctx, l.policy.MaxWait); {
		case errors.Is(err, permits.ErrFull):
			return ErrRateLimited
		case err != nil:
			return err
		}
		got.permit, got.since = true, time.Now()
	}
	got.tokens = min(tokens, l.policy.TokensPerMinute)
	if !got.reserve(&got.ofAttempts, l.attempts, 1, until) || !got.reserve(&got.ofTokens, l.tokens, got.tokens, until) {
		got.cancel()
		return ErrRateLimited
	}
	if err := sleep(ctx, got.wait); err != nil {
		got.cancel()
		return err
	}
	return nil
}

// A lease is what one attempt holds of a limiter.
type lease struct {
	limiter              *limiter
	permit               bool
	since                time.Time // of the permit
	tokens               int       // reserved of the tokens a minute; 0: there is no such limit
	wait                 time.Duration
	ofAttempts, ofTokens reservation
}

// A reservation is what was taken from a bucket.
type reservation struct {
	bucket *rate.Limiter     // nil: nothing was
	later  *rate.Reservation // to be had later; nil: had at once
	n      int
}

// reserve takes n from a bucket that will have them by until.
func (h *lease) reserve(r *reservation, bucket *rate.Limiter, n int, until time.Time) bool {
	if bucket == nil {
		return true
	}
	now := time.Now()
	*r = reservation{bucket: bucket, n: n}
	if bucket.AllowN(now, n) {
		return true
	}
	r.later = bucket.ReserveN(now, n)
	d := r.later.DelayFrom(now)
	if !r.later.OK() || now.Add(d).After(until) {
		r.later.CancelAt(now)
		r.bucket = nil
		return false
	}
	h.wait = max(h.wait, d)
	return true
}

// cancel gives everything back: the attempt was not sent.
func (h *lease) cancel() {
	h.ofAttempts.cancel()
	h.ofTokens.cancel()
	h.release()
}

// cancel gives back as of now: a bucket set back in time would fill twice.
func (r *reservation) cancel() {
	now := time.Now()
	switch {
	case r.bucket == nil:
	case r.later != nil && r.later.DelayFrom(now) > 0:
		r.later.CancelAt(now)
	case r.bucket.TokensAt(now) >= 0: // its turn has come: it can only be put back, and only where nobody waits
		r.bucket.AllowN(now, -r.n)
	}
}

// release gives the permit back.
func (h *lease) release() {
	if h.permit {
		h.limiter.permits.Release(time.Since(h.since))
	}
}

// finish implements ender: the permit comes back, and the tokens reserved are
// settled with what was used.
func (h *lease) finish(a *attempt, class Class) {
	h.learn(a, class)
	h.release()
	if h.tokens == 0 {
		return
	}
	used := a.used.TotalTokens
	if used <= 0 && outcome.Of(class).Answered {
		used = h.tokens // the host did not say: the estimate stands
	}
	h.limiter.settle(used - h.tokens)
}

// learn adapts the number of permits to what the host has served or refused.
func (h *lease) learn(a *attempt, class Class) {
	l := h.limiter
	if l.adaptive == nil {
		return
	}
	open, _ := l.permits.InUse()
	switch {
	case class == ClassOK:
		l.permits.Resize(l.adaptive.Served(time.Now(), open))
	case outcome.Overloaded(class, int(a.status)):
		l.permits.Resize(l.adaptive.Refused(time.Now(), a.Start, open, int(a.limitSaid)))
	}
}

// settle takes more tokens, or gives back where more is negative. A
// reservation can only be cancelled before its time, but the bucket takes a
// negative one, capping itself at its burst, and larger ones only in parts. No
// host's word takes more than what ten minutes bring.
func (l *limiter) settle(more int) {
	now, burst := time.Now(), l.tokens.Burst()
	for minutes := 1; minutes < 10 && more > burst; minutes++ {
		l.tokens.ReserveN(now, burst)
		more -= burst
	}
	more = min(more, burst)
	if !l.tokens.AllowN(now, more) {
		l.tokens.ReserveN(now, more) // on credit
	}
}
