// Package exchange follows one request to a host through its response, until
// the response's body ends. Headers prove nothing: a response is held back until
// it carries a part of an answer, and a body ends cleanly only if nothing of the
// answer is missing.
//
// An Exchange is in one of these states:
//
//	waiting    FirstPayload runs, if another endpoint could serve
//	judging    Judge reads the response and holds it back
//	failed     Judge returned a Failure: what came, and what it means
//	committed  Judge returned the response, and its body tells of the end
//	ended      Owner.End was told; what it is told after that does not count
//
// Whoever sends the request embeds an Exchange and is its Owner. It starts
// FirstPayload and then calls Judge, once, on one goroutine. The body is for one
// reader at a time, but may be closed by anybody at any time. The package knows
// no endpoints, no hosts and no layers.
package exchange

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An Exchange is one request and its response. Its exported fields are set
// before it begins, but for Answer.
type Exchange struct {
	context.Context // of the request: it ends with the exchange, or earlier, by Cancel
	Cancel          context.CancelCauseFunc
	Caller          context.Context // the caller's own, above Context
	Owner           Owner
	Policy          *Policy
	Start           time.Time
	FirstPayload    Deadline
	Answer          wire.Answer // as far as it was read

	whole Whole // the body, if the answer came in one piece
}

// An Owner sends the request of an Exchange.
type Owner interface {
	// MayTakeOver reports whether the call may leave the exchange to another
	// endpoint now: one could serve, and the policies allow it.
	MayTakeOver() bool
	// Elsewhere reports whether another endpoint could serve the call now.
	Elsewhere() bool
	// End tells how the exchange ended. bytes is how many of the body went to its
	// reader. Only the first call counts.
	End(class outcome.Class, err error, used wire.Usage, bytes int64)
	// EndpointName names who answers.
	EndpointName() string
}

// A Policy sets the clocks and bounds of exchanges.
type Policy struct {
	Queued       time.Duration // how long an answer in one piece may consist of blank lines; 0: for good
	Stall        time.Duration // how long payload may pause, once there was some; 0: for good
	MaxBuffer    int64         // bytes up to which an answer in one piece is checked whole
	ErrorFrames  bool          // a stream that breaks off tells so in an event
	KeepComments bool          // of a stream are passed on
}

// A Want is what the caller wants, as far as it says how a response is read.
type Want struct {
	Wire       wire.Wire
	Choices    int    // see wire.Answer
	Stream     bool   // a response of an unknown media type is read as a stream
	Continues  bool   // the answer continues another's stream: whoever reads it tells how it ends
	Transcript Limits // of what is kept of a stream, so that another can continue it; nil: nothing is
}

// Limits say which answers can be continued.
type Limits interface {
	// Allow reports whether anybody could continue an answer with so many bytes of
	// text and reasoning; other: there was something besides.
	Allow(text, reasoning int, other bool) bool
}

// Interrupted returns the failure of an exchange that its deadline or its
// caller has ended, nil if neither has.
func (x *Exchange) Interrupted() *Failure {
	if err, early := x.FirstPayload.Err(); err != nil {
		if errors.Is(err, outcome.ErrStalled) {
			return &Failure{Class: outcome.Stalled, Err: err}
		}
		return &Failure{Class: outcome.NoFirstToken, Err: err, Early: early}
	}
	return x.LeftByCaller()
}

// LeftByCaller returns the failure of an exchange whose caller left or is out of
// time, nil if neither is so.
func (x *Exchange) LeftByCaller() *Failure {
	switch err := EndOf(x.Caller); {
	case errors.Is(x.Caller.Err(), context.Canceled):
		return &Failure{Class: outcome.Canceled, Err: err}
	case err != nil:
		return &Failure{Class: outcome.Deadline, Err: err, Early: true}
	}
	return nil
}

// EndOf returns what ended a context, nil if nothing has. A deadline that has
// passed counts though the context's own timer is still to fire: net.Dialer
// heeds the deadline by a timer of its own.
func EndOf(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// failure says what an error of a body before the commit means: that the
// deadline or the caller ended it, or that the response is a bad one.
func (x *Exchange) failure(err error) *Failure {
	if f := x.Interrupted(); f != nil {
		return f
	}
	if !errors.Is(err, outcome.ErrBadResponse) && !errors.Is(err, outcome.ErrTruncated) {
		err = outcome.Quiet(err)
	}
	return &Failure{Class: outcome.BadResponse, Err: err}
}

// endWithCaller ends an exchange with its caller's context, until stop is
// called. read is how many bytes of the body went to its reader.
func (x *Exchange) endWithCaller(read *atomic.Int64) (stop func() bool) {
	return context.AfterFunc(x.Caller, recovered(func() {
		x.Owner.End(outcome.Canceled, context.Cause(x.Caller), wire.Usage{}, read.Load())
	}))
}

// completes tells c, if there is one, that nothing is missing of the answer.
func (x *Exchange) completes(c Completion) {
	if c != nil {
		a := &x.Answer
		c.Complete(x.Owner.EndpointName(), a.Finished() && !a.Partial && a.Spoke, a.Usage.TotalTokens > 0)
	}
}

// recovered wraps do for a goroutine that has no caller: a panic in user code
// there, an Observer's or a body's, must not crash the process.
func recovered(do func()) func() {
	return func() {
		defer func() { _ = recover() }()
		do()
	}
}
