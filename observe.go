package breakwater

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/price"
)

// A Kind says what happened in an [Event].
type Kind string

const (
	KindAttempt     Kind = "attempt"      // an attempt ended, or was not sent because of a local limit or circuit
	KindPassedOver  Kind = "passed_over"  // a call did not go to an endpoint that it would have preferred or needed: Reason says why. Once for each call, endpoint and reason
	KindCommit      Kind = "commit"       // the first payload has come: the caller gets the response
	KindWait        Kind = "wait"         // the call waits before its next attempt
	KindCall        Kind = "call"         // RoundTrip returns, with a response or an error
	KindEnd         Kind = "end"          // a call is over: its body has ended, too, or was closed or left. Once for each KindCall
	KindCircuit     Kind = "circuit"      // a circuit changed its state from From to To
	KindPause       Kind = "pause"        // an endpoint, an account or a model is paused for Wait
	KindKey         Kind = "key"          // the key of an endpoint was rejected, its account has no funds, or its KeyFunc gave no key: a person has to act. With ErrNoKey: an attempt had no key
	KindHealth      Kind = "health"       // a probe found something new at an endpoint: Health says what is known now
	KindBalance     Kind = "balance"      // a probe found the balance of an account below LowBalance, or the host says that there is no money: see Health. Once until it is above that again
	KindBudget      Kind = "budget"       // RetryPolicy.Budget did not allow an extra attempt
	KindRescue      Kind = "rescue"       // a broken stream continues: From says how, continue or restart
	KindDrift       Kind = "drift"        // the endpoint's answers for Model are of another model than before, or have a new fingerprint: From was, To is. Once for each change
	KindBreak       Kind = "break"        // a stream broke after its commit and nothing continues it, so its caller gets Err: Reason says why
	KindHedge       Kind = "hedge"        // a second attempt begins beside a slow one
	KindPassed      Kind = "passed"       // a request is sent once, without protection: it is neither inference nor a GET or HEAD, or meant for no endpoint. With ErrUnprotected: it looks like inference; once for each origin
	KindCheaper     Kind = "cheaper"      // the call gets another model, To, than the one it asks for, From: see SpendPolicy.Cheaper
	KindUnbuffered  Kind = "unbuffered"   // the request's body is larger than MaxReplay, so it is sent once
	KindCacheHit    Kind = "cache_hit"    // the call got a fresh answer from the cache; From is idempotency-key if it is the answer of its key
	KindCacheStale  Kind = "cache_stale"  // the call got a stale answer from the cache: From says why, error, revalidate or max-stale
	KindCacheMiss   Kind = "cache_miss"   // the cache had no answer: the call is sent to the endpoints
	KindCacheShared Kind = "cache_shared" // the call shares the attempt of another call with the same content, or the same Idempotency-Key
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
	Call     string // an id of the call, the same in all of its events; empty for what concerns no one call, such as KindCircuit
	Endpoint string // its name
	Model    string // the endpoint's name for it; in events of the cache, and of calls that no endpoint answered, the caller's; KindCircuit: GET for the circuit of GETs and HEADs

	Operation string // what the call asks for: chat/completions, completions (FIM), responses, messages or embeddings; empty for a GET or HEAD, and for what concerns no one call
	Stream    bool   // the call asks for a stream

	Attempt int // number of the attempt; KindWait: of the next one; KindCall, KindEnd: how many were sent
	Status  int // HTTP status
	Class   Class
	Verdict Verdict
	Outcome Outcome       // KindCall, KindEnd: how the call was answered, or how it failed
	Fault   Fault         // KindCall, KindEnd, KindAttempt: who is at fault for a call or an attempt that failed
	Wait    time.Duration // before an attempt; KindPause, KindKey: length of the pause; KindCircuit: how long it is open
	Elapsed time.Duration // from the start of the attempt; KindCall, KindEnd: of the call
	Bytes   int64         // given to the caller, or kept; KindEnd of a kept answer: its size; KindUnbuffered: size of the request
	Usage   Usage         // KindEnd: of all attempts of the call
	Cost    Cost          // KindAttempt, KindBreak: of the attempt; KindEnd: of all attempts of the call

	Health *HealthStatus // KindHealth, KindBalance: what is known of the endpoint; it is shared, so do not change it

	FirstToken time.Duration // from the start of the attempt to its first payload; KindEnd: from the start of the call until RoundTrip returned the answer; 0: there was none

	Served      string // the model that the answer says it is of
	Fingerprint string // its system_fingerprint
	RequestID   string // the host's id of the request: see Attempt.RequestID
	Flaw        error  // the caller got the answer although it is flawed: see Attempt.Flaw
	Reason      Reason // KindBreak, KindEnd: why the stream was not continued; KindPassedOver: why the call did not go there
	From, To    string // KindCircuit: closed, half-open or open; KindCheaper: models, as callers name them; From also of KindRescue, KindCacheHit and KindCacheStale, and of KindCacheShared: the Call that made the attempt
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
		Verdict: t.Verdict, Wait: t.Wait, FirstToken: t.FirstToken, Elapsed: t.Elapsed, Bytes: t.Bytes, Usage: t.Usage, Cost: t.Cost,
		Served: t.Served, Fingerprint: t.Fingerprint, RequestID: t.RequestID, Flaw: t.Flaw, Err: t.Err,
	}
}

// counters count what a Transport does, and have the observers of one generation.
type counters struct {
	*counts
	currency  price.Currency
	observers observers
}

// counts are what a Transport has done.
type counts struct {
	calls, failed, attempts, passed atomic.Int64
	ends                            [len(endings)]atomic.Int64 // calls, by their ending
}

// outcomes returns how the calls ended that are over.
func (t *counts) outcomes() map[Outcome]int64 {
	counts := make(map[Outcome]int64)
	for i := range t.ends {
		if n := t.ends[i].Load(); n > 0 {
			counts[endings[i]] = n
		}
	}
	return counts
}

// observers are the Observers of a Transport.
type observers []Observer

// A callInfo is what events of a call have in common. There is one if there are observers.
type callInfo struct {
	id        string
	operation string
	stream    bool
	returned  Event // KindCall, once RoundTrip has returned
}

// newInfo returns the callInfo of a new call, or nil if there are no observers.
func (os observers) newInfo(operation string, stream bool) *callInfo {
	if len(os) == 0 {
		return nil
	}
	return &callInfo{id: newCallID(), operation: strings.TrimPrefix(operation, "/"), stream: stream}
}

type callInfoKey struct{}

// callIDs numbers the calls of this process. It begins at random, so that the ids of
// several processes differ.
var callIDs = func() *atomic.Uint64 {
	n := new(atomic.Uint64)
	n.Store(rand.Uint64())
	return n
}()

// newCallID returns an id of at most 13 letters and digits. It is a mixed number, because
// people tell ids apart by their first letters.
func newCallID() string {
	x := callIDs.Add(1) * 0x9e3779b97f4a7c15 // odd, so that no two numbers become one
	x ^= x >> 32
	return strconv.FormatUint(x, 36)
}

// emit passes e to each Observer. The caller must hold no lock.
func (os observers) emit(ctx context.Context, e Event) {
	if len(os) == 0 {
		return
	}
	e.Time = time.Now()
	if info, ok := ctx.Value(callInfoKey{}).(*callInfo); ok && info != nil {
		e.Call, e.Operation, e.Stream = info.id, info.operation, info.stream
	}
	for _, o := range os {
		o(ctx, e)
	}
}

// Log returns an [Observer] that writes events to l. To see every call and attempt, give it
// a Logger of level Debug. Each line of a call ends in the call's id. Its levels are:
//
//   - Error: KindKey, unless Err is ErrNoKey.
//   - Warn: what the caller notices. That is KindCall of a call that failed, unless the
//     caller left it or wanted a kept answer only, KindBreak, and KindEnd of a stream that
//     broke. Also ErrNoKey, ErrUnprotected, a failing Store, a low balance, and what a probe found wrong.
//   - Info: what was healed, and why it had to be. That is KindEnd of a call that was
//     answered by another attempt than its first or from a stale answer, KindRescue, stale
//     answers in the place of a failure, attempts that count for the circuit as failed,
//     circuits, pauses and the budget. Also KindDrift, KindCheaper and KindUnbuffered.
//   - Debug: all others.
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
		add(e.Outcome != "", slog.String("outcome", string(e.Outcome)))
		add(e.Fault != "", slog.String("fault", string(e.Fault)))
		add(e.Wait != 0, slog.Duration("wait", e.Wait))
		add(e.Elapsed != 0, slog.Duration("elapsed", e.Elapsed))
		add(e.FirstToken != 0, slog.Duration("first_token", e.FirstToken))
		add(e.Bytes != 0, slog.Int64("bytes", e.Bytes))
		add(e.Usage.TotalTokens != 0, slog.Int("tokens", e.Usage.TotalTokens))
		add(e.Cost.Amount != 0, slog.Float64("cost", e.Cost.Amount))
		add(e.Cost.Estimated, slog.Bool("cost_estimated", true))
		add(e.Served != "", slog.String("served", e.Served))
		add(e.Fingerprint != "", slog.String("fingerprint", e.Fingerprint))
		add(e.RequestID != "", slog.String("request_id", e.RequestID))
		add(e.Reason != "", slog.String("reason", string(e.Reason)))
		add(e.From != "", slog.String("from", e.From))
		add(e.To != "", slog.String("to", e.To))
		attrs = e.Health.appendTo(attrs)
		flaw := outcome.LogText(e.Flaw)
		add(flaw != "", slog.String("flaw", flaw))
		why := logText(e.Err)
		add(why != "", slog.String("err", why))
		add(e.Call != "", slog.String("call", e.Call))
		l.LogAttrs(ctx, level, "breakwater: "+string(e.Kind), attrs...)
	}
}

// appendTo appends what is known to the attributes of a log.
func (h *HealthStatus) appendTo(attrs []slog.Attr) []slog.Attr {
	if h == nil {
		return attrs
	}
	for _, f := range []struct {
		name    string
		finding Finding
	}{{"reachable", h.Reachable}, {"credential", h.Credential}, {"funds", h.Funds}} {
		if f.finding != "" {
			attrs = append(attrs, slog.String(f.name, string(f.finding)))
		}
	}
	if b := h.Balance; b != nil {
		attrs = append(attrs, slog.Float64("balance", b.Amount), slog.String("currency", b.Currency))
		if b.Left > 0 {
			attrs = append(attrs, slog.Duration("left", b.Left.Round(time.Minute)))
		}
	}
	if len(h.Missing) > 0 {
		attrs = append(attrs, slog.Any("missing", h.Missing))
	}
	return attrs
}

// isWell reports whether nothing is known to be wrong.
func (h *HealthStatus) isWell() bool {
	return h.Reachable != FindingNo && h.Credential != FindingNo && h.Funds != FindingNo && len(h.Missing) == 0
}

// levelOf returns the level at which Log writes an event.
func levelOf(e Event) slog.Level {
	switch e.Kind {
	case KindKey:
		if !errors.Is(e.Err, ErrNoKey) {
			return slog.LevelError
		}
		return slog.LevelWarn
	case KindBreak, KindCacheError, KindBalance:
		return slog.LevelWarn
	case KindHealth:
		if e.Health.isWell() {
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case KindPassed:
		return levelIf(e.Err != nil, slog.LevelWarn)
	case KindCall:
		return levelIf(isNoticed(cmp.Or(e.Outcome, Outcome(e.Class))), slog.LevelWarn)
	case KindEnd:
		if outcome.Broke(e.Err) && !errors.As(e.Err, new(*Error)) { // KindCall told of an *Error
			return slog.LevelWarn
		}
		return levelIf(e.Outcome.isHealed(), slog.LevelInfo)
	case KindAttempt:
		return levelIf(outcome.Of(e.Class).Outcome == outcome.Failure, slog.LevelInfo)
	case KindCacheStale:
		return levelIf(e.From == "error", slog.LevelInfo)
	case KindCircuit, KindPause, KindBudget, KindRescue, KindDrift, KindCheaper, KindUnbuffered:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// levelIf returns the level if the condition holds, else Debug.
func levelIf(holds bool, level slog.Level) slog.Level {
	if holds {
		return level
	}
	return slog.LevelDebug
}

// isNoticed reports whether a call that ends so is a failure that its caller did not ask
// for.
func isNoticed(o Outcome) bool {
	switch Class(o) {
	case "", ClassCanceled, ClassNotCached, ClassRedirected:
		return false
	}
	return !o.isAnswer()
}

// logText returns the text of err for a log.
func logText(err error) string {
	if failure, ok := err.(*Error); ok {
		return failure.summary()
	}
	return outcome.LogText(err)
}
