// Package exchange follows one request to a host through its response, until the
// body of the response ends. A status of 200 proves nothing. So a response is held
// back until it carries a part of an answer, and its body ends cleanly only if the
// answer is complete.
//
// An Exchange goes through these states:
//
//	waiting    the request is under way; FirstPayload limits the time it takes
//	judging    Judge reads the response and holds it back
//	failed     Judge returned a Failure; the owner ends the exchange
//	committed  Judge returned the response; its body ends the exchange
//	ended      Owner.End was called; calls after the first do not count
//
// The sender of the request embeds an Exchange by value and is its Owner. It calls
// FirstPayload.Start, sends the request, and calls Judge once, all on one
// goroutine. One goroutine at a time may read a body; any may close it. The package
// knows no endpoints, no hosts and no layers.
package exchange

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/flaw"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An Exchange is one request and its response. The owner sets Context, Cancel,
// Caller, Owner, Policy and Start before it uses the exchange.
type Exchange struct {
	context.Context // of the request; Cancel ends it at the end of the exchange, or earlier
	Cancel          context.CancelCauseFunc
	Caller          context.Context // the parent of Context; the caller ends it
	Owner           Owner
	Policy          *Policy
	Start           time.Time
	FirstPayload    Deadline
	Answer          wire.Answer // what the response has said so far

	whole  Whole        // the body, if the answer came in one piece
	flawed bool         // the answer is handed over although it is flawed
	opaque bool         // the answer is passed on, and nobody has read it
	spoken atomic.Int32 // Answer.Spoken, as of the latest event that was read
}

// IsOpaque reports whether the answer is passed on unread, so that nobody knows what it says.
func (e *Exchange) IsOpaque() bool { return e.opaque }

// Spoken returns an estimate of the tokens that have come, if Want.Count is set. It may be called
// from any goroutine.
func (e *Exchange) Spoken() int { return int(e.spoken.Load()) / 10 }

// noteSpoken makes what the answer has said so far known to other goroutines.
func (e *Exchange) noteSpoken() {
	if e.Answer.Counts {
		e.spoken.Store(e.Answer.Spoken)
	}
}

// An Owner sends the request of an Exchange. Its methods may be called from any
// goroutine.
type Owner interface {
	// MayTakeOver reports whether the call may go to another endpoint now, before
	// this one has shown any payload: one is available, and the policies allow it.
	MayTakeOver() bool
	// Elsewhere reports whether another endpoint is available to the call now.
	Elsewhere() bool
	// End is called when the exchange ends. bytes is how much of the body the reader
	// has got. Only the first call counts.
	End(class outcome.Class, err error, used wire.Usage, bytes int64)
	// Flawed notes that the answer is handed over although err says how it is flawed.
	Flawed(err error)
	// EndpointName returns the name of the endpoint that answers.
	EndpointName() string
	// ClassOf returns the class of an error inside an answer.
	ClassOf(f *Failure) outcome.Class
	wire.Listener // hears which model answers. It must not call back into the exchange
}

// A Policy sets the clocks and bounds of exchanges.
type Policy struct {
	Queued       time.Duration // how long a JSON answer may consist of blank lines only; 0: no limit
	Stall        time.Duration // how long payload may pause after its beginning; 0: no limit
	Review       time.Duration // the same for an answer that is reviewed, if it is longer; 0: no limit
	ToolWork     time.Duration // how long tools of the host may work without payload; 0: no limit
	MinRate      Rate          // the least rate of an answer
	MaxBuffer    int64         // bytes; a JSON answer that is longer is passed on unchecked
	ErrorFrames  bool          // a stream that breaks off ends in an event that says so
	KeepComments bool          // comments of a stream are passed on
}

// A Rate is a number of bytes per second over a window of time; 0: none.
type Rate struct {
	Bytes  int
	Window time.Duration
}

// allows reports whether so many bytes in that time are no less.
func (r Rate) allows(bytes int64, in time.Duration) bool {
	return r.Bytes == 0 || in < r.Window || float64(bytes) >= float64(r.Bytes)*in.Seconds()
}

// A Want is what the request asked for, as far as Judge has to know it.
type Want struct {
	Wire       wire.Wire
	Choices    int         // see wire.Answer
	Stream     bool        // the request asked for a stream
	Usage      bool        // it asked for the usage in the stream, too
	AsItComes  bool        // nobody knows whether it asked for a stream, so the answer is not converted
	Review     bool        // the host reviews the answer, so that only the terminator ends a stream
	Continues  bool        // the answer continues a stream that broke; its reader reports errors by itself
	Transcript Limits      // how much of a stream is kept, so that another can continue it; nil: nothing
	Flaws      *flaw.Rules // what the answer is checked for; nil: nothing
	KeepFlawed bool        // a flawed answer is handed over if it cannot be replaced
	Count      bool        // tokens are estimated as they come
	TrimUsage  bool        // the host was asked for a stream's usage, and the request's owner did not ask
}

// Limits say which answers can be continued.
type Limits interface {
	// Allow reports whether an answer with so many bytes of text and reasoning can
	// be continued. other: the answer has something else as well, such as a tool call.
	Allow(text, reasoning int, other bool) bool
}

// Interrupted returns the failure of an exchange that FirstPayload or the caller
// has ended, nil if neither has.
func (e *Exchange) Interrupted() *Failure {
	if err, early := e.FirstPayload.Err(); err != nil {
		if errors.Is(err, outcome.ErrStalled) {
			return &Failure{Class: outcome.Stalled, Err: err}
		}
		return &Failure{Class: outcome.NoFirstToken, Err: err, Early: early}
	}
	return e.LeftByCaller()
}

// LeftByCaller returns the failure of an exchange whose caller has canceled it or
// is out of time, else nil.
func (e *Exchange) LeftByCaller() *Failure {
	switch err := EndOf(e.Caller); {
	case errors.Is(e.Caller.Err(), context.Canceled):
		return &Failure{Class: outcome.Canceled, Err: err}
	case err != nil:
		return &Failure{Class: outcome.Deadline, Err: err, Early: true}
	}
	return nil
}

// EndOf returns the error that ended a context, nil if it goes on. A deadline that
// has passed counts even if the context's timer has not fired yet: net.Dialer, for
// example, follows the deadline with a timer of its own.
func EndOf(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// failure returns the failure that an error of the body before the commit stands
// for. If FirstPayload or the caller ended the exchange, that caused the error.
// Otherwise the response is a bad one.
func (e *Exchange) failure(err error) *Failure {
	if f := e.Interrupted(); f != nil {
		return f
	}
	if !errors.Is(err, outcome.ErrBadResponse) && !errors.Is(err, outcome.ErrTruncated) {
		err = outcome.Quiet(err)
	}
	return &Failure{Class: outcome.BadResponse, Err: err}
}

// endWithCaller ends the exchange when the caller's context ends, even if nobody
// reads, until stop is called. read is how much of the body the reader has got.
func (e *Exchange) endWithCaller(read *atomic.Int64) (stop func() bool) {
	return context.AfterFunc(e.Caller, background.Recovered(func() {
		e.Owner.End(outcome.Canceled, context.Cause(e.Caller), wire.Usage{}, read.Load())
	}))
}

// complete tells c, unless it is nil, that the answer is complete.
func (e *Exchange) complete(c Completion) {
	if c != nil {
		a := &e.Answer
		finished := (a.Finished() || a.Accepted) && a.HasContent && !e.flawed
		c.Complete(e.Owner.EndpointName(), finished, finished && !a.Accepted && !a.Partial, a.Usage.TotalTokens > 0)
	}
}
