package breakwater

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Kind says what an Event tells.
type Kind string

const (
	KindAttempt     Kind = "attempt"      // an exchange ended, or was refused locally
	KindCommit      Kind = "commit"       // the first payload is known; the caller gets the response
	KindWait        Kind = "wait"         // the call waits before it goes on
	KindCall        Kind = "call"         // the call was answered or given up: RoundTrip returns
	KindCircuit     Kind = "circuit"      // a circuit went from From to To
	KindPause       Kind = "pause"        // an endpoint or account rests for Wait
	KindKey         Kind = "key"          // a key of ours was rejected, or its account is out of funds: look at it. With ErrNoKey: neither a call nor its endpoint has one
	KindBudget      Kind = "budget"       // an extra attempt was denied
	KindRescue      Kind = "rescue"       // a stream that broke goes on: From says how, continue or restart
	KindHedge       Kind = "hedge"        // another account is asked beside one that is slow
	KindUnbuffered  Kind = "unbuffered"   // the request's body is too large to be sent again
	KindCacheHit    Kind = "cache_hit"    // answered from the cache
	KindCacheStale  Kind = "cache_stale"  // answered from the cache past its time: From says why: error, revalidate, max-stale
	KindCacheMiss   Kind = "cache_miss"   // not answered from the cache
	KindCacheShared Kind = "cache_shared" // another call for the same is under way: this one gets its answer
	KindCacheRenew  Kind = "cache_renew"  // an answer past its time is asked for anew, behind its callers' backs
	KindCacheStore  Kind = "cache_store"  // an answer was kept
	KindCacheError  Kind = "cache_error"  // the Store failed; the call goes on
)

// An Event is something that happened. Fields that do not apply are zero.
// It holds no key, prompt or answer, and no host's message.
type Event struct {
	Kind     Kind
	Time     time.Time
	Endpoint string
	Model    string // by the endpoint's name for it; by the caller's where the cache tells
	Attempt  int    // its number; of KindWait the next one's, of KindCall how many there were
	Status   int
	Class    Class
	Verdict  Verdict
	Wait     time.Duration // before an attempt; how long a pause or an open circuit lasts
	Elapsed  time.Duration // of an exchange; of KindCall until RoundTrip returns
	Bytes    int64         // handed to the caller, or kept; of KindUnbuffered the request's
	Usage    Usage
	From, To string // of a circuit: closed, half-open, open; From also says how of a rescue, and why of a stale answer
	Err      error
}

// An Observer is told of events, on the goroutine where they happen and with
// no lock held: it may call Status. It must be fast and safe for concurrent use.
type Observer func(context.Context, Event)

// event returns an event of what the trail says of an attempt. It is the one
// place that makes events of attempts.
func (t Attempt) event(kind Kind) Event {
	return Event{
		Kind: kind, Endpoint: t.Endpoint, Model: t.Model, Attempt: t.N, Status: t.Status, Class: t.Class,
		Verdict: t.Verdict, Wait: t.Wait, Elapsed: t.Elapsed, Bytes: t.Bytes, Usage: t.Usage, Err: t.Err,
	}
}

// observers are all that are told of an event.
type observers []Observer

// emit tells them, with no lock held.
func (os observers) emit(ctx context.Context, e Event) {
	if len(os) == 0 {
		return
	}
	e.Time = time.Now()
	for _, o := range os {
		o(ctx, e)
	}
}

// Log returns an Observer that writes to l: what needs a person as errors,
// trouble as warnings, circuits as information, the rest for debugging.
func Log(l *slog.Logger) Observer {
	return func(ctx context.Context, e Event) {
		level := levelOf(e)
		if !l.Enabled(ctx, level) {
			return
		}
		attrs := make([]slog.Attr, 0, 12)
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
		add(e.From != "", slog.String("from", e.From))
		add(e.To != "", slog.String("to", e.To))
		why := outcome.LogText(e.Err)
		add(why != "", slog.String("err", why))
		l.LogAttrs(ctx, level, "breakwater: "+string(e.Kind), attrs...)
	}
}

// levelOf returns how loudly an event is logged.
func levelOf(e Event) slog.Level {
	switch {
	case e.Kind == KindKey && !errors.Is(e.Err, ErrNoKey):
		return slog.LevelError
	case e.Kind == KindKey, e.Kind == KindPause, e.Kind == KindBudget, e.Kind == KindCacheError,
		e.Kind == KindAttempt && outcome.Of(e.Class).Outcome == outcome.Failure,
		e.Kind == KindCacheStale && e.From == "error":
		return slog.LevelWarn
	case e.Kind == KindCircuit, e.Kind == KindUnbuffered:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
