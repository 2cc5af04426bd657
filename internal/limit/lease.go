package limit

import (
	"container/list"
	"time"
)

// A Lease is what one attempt holds of a limiter. Acquire fills the zero Lease.
type Lease struct {
	limiter *Limiter
	since   time.Time
	tokens  int // that are reserved; 0: tokens are not limited
	open    int // attempts that were under way when it began, with itself
	use     Use
	cost    float64       // that its tenant is charged with: see fairness
	spare   *list.Element // of limiter.spare; nil: a caller waits for the attempt
}

// A Result says how an attempt with a lease ended.
type Result struct {
	Served bool // the host answered, and the answer is complete
	Late   bool // the caller's deadline ended it

	// Refused says that the host was overloaded, Throttled that it said the rate was
	// exceeded, Begun when the attempt began, and Stated which limit the host stated; 0:
	// none.
	Refused   bool
	Throttled bool
	Throttle  Throttle
	Begun     time.Time
	Stated    int

	// Answered says that there was an answer, complete or not, and Tokens how many it took
	// by the host's count; 0: not known, so the estimate counts.
	Answered bool
	Tokens   int
}

// Cancel returns all that the lease holds, because the attempt is not sent. It takes the
// place of End.
func (l *Lease) Cancel() { l.limiter.cancel(l) }

// End returns what the lease holds. It or Cancel must be called exactly once after Acquire has
// returned nil.
func (l *Lease) End(r Result) {
	used := r.Tokens
	if r.Throttled {
		r.Throttle.Sent, r.Throttle.Stated, r.Throttle.Open = l.since, r.Stated, l.open
	}
	if used <= 0 && r.Answered {
		used = l.tokens
	}
	l.limiter.release(l, r, max(used, 0))
}
