package breakwater

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Kind says what happened in an [Event].
type Kind string

const (
	KindAttempt     Kind = "attempt"      // an attempt ended, or was not sent because of a local limit or circuit
	KindPassedOver  Kind = "passed_over"  // a call did not go to an endpoint that it would have preferred or needed: Reason says why. Once for each call, endpoint and reason
	KindCommit      Kind = "commit"       // the first payload has come: the caller gets the response
	KindWait        Kind = "wait"         // the call waits before its next attempt
	KindCall        Kind = "call"         // RoundTrip returns, with a response or an error
	KindCircuit     Kind = "circuit"      // a circuit changed its state from From to To
	KindPause       Kind = "pause"        // an endpoint, an account or a model is paused for Wait
	KindKey         Kind = "key"          // the key of an endpoint was rejected, or its account has no funds: a person has to act. With ErrNoKey: an attempt had no key
	KindBudget      Kind = "budget"       // RetryPolicy.Budget did not allow an extra attempt
	KindRescue      Kind = "rescue"       // a broken stream continues: From says how, continue or restart
	KindDrift       Kind = "drift"        // the endpoint's answers for Model are of another model than before, or have a new fingerprint: From was, To is. Once for each change
	KindBreak       Kind = "break"        // a stream broke after its commit and nothing continues it, so its caller gets Err: Reason says why
	KindHedge       Kind = "hedge"        // a second attempt begins beside a slow one
	KindPassed      Kind = "passed"       // a request is sent once, without protection: it is not inference, or meant for no endpoint. With ErrUnprotected: it looks like inference; once for each origin
	KindUnbuffered  Kind = "unbuffered"   // the request's body is larger than MaxReplay, so it is sent once
	KindCacheHit    Kind = "cache_hit"    // the call got a fresh answer from the cache
	KindCacheStale  Kind = "cache_stale"  // the call got a stale answer from the cache: From says why, error, revalidate or max-stale
	KindCacheMiss   Kind = "cache_miss"   // the cache had no answer: the call is sent to the endpoints
	KindCacheShared Kind = "cache_shared" // the call shares the attempt of another call with the same content
	KindCacheRenew  Kind = "cache_renew"  // a stale answer is being renewed in the background
	KindCacheStore  Kind = "cache_store"  // an answer was kept
	KindCacheError  Kind = "cache_error"  // the Store failed; the call continues
)

// An Event is something that happened: an [Observer] gets it. Fields that do not apply are
// zero. It contains no key, prompt or answer, and no message of a host. Of what a host says, it
// has only Served, Fingerprint and RequestID.
type Event struct {
	Kind     Kind
	Time     time.Time
	Endpoint string // its name
	Model    string // the endpoint's name for it; in events of the cache, the caller's
	Attempt  int    // number of the attempt; KindWait: of the next one; KindCall: how many were sent
	Status   int    // HTTP status
	Class    Class
	Verdict  Verdict
	Wait     time.Duration // before an attempt; KindPause, KindKey: length of the pause; KindCircuit: how long it is open
	Elapsed  time.Duration // from the start of the attempt; KindCall: of the call
	Bytes    int64         // given to the caller, or kept; KindUnbuffered: size of the request
	Usage    Usage

	Served      string // the model that the answer says it is of
	Fingerprint string // its system_fingerprint
	RequestID   string // the host's id of the request: see Attempt.RequestID
	Flaw        error  // the caller got the answer although it is flawed: see Attempt.Flaw
	Reason      Reason // KindBreak: why the stream was not continued; KindPassedOver: why the call did not go there
	From, To    string // KindCircuit: closed, half-open or open; From also of KindRescue and KindCacheStale
	Err         error
}

// An Observer gets events: see [WithObserver]. It is called on the goroutine where the
// event happens, and must be fast and safe for concurrent use. No lock is held, so it may
// call Status. The context is that of the call, with its values.
//
// An Observer that counts attempts by endpoint and class:
//
//	attempts := expvar.NewMap("llm_attempts")
//	observer := func(_ context.Context, e breakwater.Event) {
//		if e.Kind == breakwater.KindAttempt {
//			attempts.Add(e.Endpoint+" "+string(e.Class), 1)
//		}
//	}
type Observer func(context.Context, Event)

// event returns an event with the fields of t. All events of attempts are made
// here.
func (t Attempt) event(kind Kind) Event {
	return Event{
		Kind: kind, Reason: t.PassedOver, Endpoint: t.Endpoint, Model: t.Model, Attempt: t.N, Status: t.Status, Class: t.Class,
		Verdict: t.Verdict, Wait: t.Wait, Elapsed: t.Elapsed, Bytes: t.Bytes, Usage: t.Usage,
		Served: t.Served, Fingerprint: t.Fingerprint, RequestID: t.RequestID, Flaw: t.Flaw, Err: t.Err,
	}
}

// observers are the Observers of a Transport.
type observers []Observer

// emit passes e to each Observer. The caller must hold no lock.
func (os observers) emit(ctx context.Context, e Event) {
	if len(os) == 0 {
		return
	}
	e.Time = time.Now()
	for _, o := range os {
		o(ctx, e)
	}
}

// Log returns an [Observer] that writes events to l. To see every call and attempt, give it
// a Logger of level Debug. Its levels are:
//
//   - Error: KindKey, unless Err is ErrNoKey.
//   - Warn: failed attempts that count for the circuit, pauses, the budget,
//     streams that nothing continues, a failing Store, stale answers in the place of a failure, ErrNoKey and
//     ErrUnprotected.
//   - Info: KindCircuit, KindDrift and KindUnbuffered.
//   - Debug: all others, including KindCall of a call that no endpoint answered.
func Log(l *slog.Logger) Observer {
	return func(ctx context.Context, e Event) {
		level := levelOf(e)
		if !l.Enabled(ctx, level) {
			return
		}
		attrs := make([]slog.Attr, 0, 16)
		add := func(ok bool, a slog.Attr) {
			if ok {
				attrs = append(attrs, a)
			}
		}
		add(e.Endpoint != "", slog.String("endpoint", e.Endpoint))
		add(e.Model != "", slog.String("model", e.Model))
		add(e.Attempt != 0, slog.Int("attempt", e.Attempt))
		add(e.Status != 0, slog.Int("status", e.Status))
		add(e.Class != "", slog.String("class", string(e.Class)))
		add(e.Verdict != "", slog.String("verdict", string(e.Verdict)))
		add(e.Wait != 0, slog.Duration("wait", e.Wait))
		add(e.Elapsed != 0, slog.Duration("elapsed", e.Elapsed))
		add(e.Bytes != 0, slog.Int64("bytes", e.Bytes))
		add(e.Usage.TotalTokens != 0, slog.Int("tokens", e.Usage.TotalTokens))
		add(e.Served != "", slog.String("served", e.Served))
		add(e.Fingerprint != "", slog.String("fingerprint", e.Fingerprint))
		add(e.RequestID != "", slog.String("request_id", e.RequestID))
		add(e.Reason != "", slog.String("reason", string(e.Reason)))
		add(e.From != "", slog.String("from", e.From))
		add(e.To != "", slog.String("to", e.To))
		flaw := outcome.LogText(e.Flaw)
		add(flaw != "", slog.String("flaw", flaw))
		why := outcome.LogText(e.Err)
		add(why != "", slog.String("err", why))
		l.LogAttrs(ctx, level, "breakwater: "+string(e.Kind), attrs...)
	}
}

// levelOf returns the level at which Log writes an event.
func levelOf(e Event) slog.Level {
	switch {
	case e.Kind == KindKey && !errors.Is(e.Err, ErrNoKey):
		return slog.LevelError
	case e.Kind == KindPassed && e.Err != nil,
		e.Kind == KindKey, e.Kind == KindPause, e.Kind == KindBudget, e.Kind == KindBreak, e.Kind == KindCacheError,
		e.Kind == KindAttempt && outcome.Of(e.Class).Outcome == outcome.Failure,
		e.Kind == KindCacheStale && e.From == "error":
		return slog.LevelWarn
	case e.Kind == KindCircuit, e.Kind == KindDrift, e.Kind == KindUnbuffered:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
