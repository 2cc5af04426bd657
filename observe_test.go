package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A callerBack is user code that calls the Transport it runs inside of.
type callerBack struct {
	who    string // alone calls: the others' calls would use up what it waits for
	rt     *Transport
	trail  Trail
	inside atomic.Bool // what it causes itself calls nothing any more
	ran    atomic.Int64
}

// from calls all there is.
func (c *callerBack) from(who string) {
	if who != c.who || !c.inside.CompareAndSwap(false, true) {
		return
	}
	defer c.inside.Store(false)
	c.ran.Add(1)
	c.rt.Status()
	c.trail.Attempts() // of the call it runs inside of
	for _, body := range []string{question(7), chatStream} {
		asks(context.Background(), c.rt, body)
	}
	c.rt.CloseIdleConnections()
}

// Invariant 11: an Observer, a Store, a Scope, a Rewrite, a Middleware, a
// base, a request's context and its and a response's body may call Status and
// RoundTrip of the Transport they run inside of: no lock is held.
func TestObserve_UserCodeMayCallIn(t *testing.T) {
	all := []string{"Store.Get", "Store.Set", "Scope", "Rewrite", "Middleware", "attempt Middleware", "base", "request context", "request body", "response body"}
	for _, kind := range []Kind{KindAttempt, KindCommit, KindWait, KindCall, KindCircuit, KindPause, KindKey, KindUnbuffered, KindCacheMiss, KindCacheStore} {
		all = append(all, observerOf(kind))
	}
	for _, who := range all {
		t.Run(who, func(t *testing.T) {
			// Who waits for a lock in vain does so for ever, also in a bubble: go test -timeout shows where.
			synctest.Test(t, func(t *testing.T) { userCodeCallsIn(t, who) })
		})
	}
}

func observerOf(kind Kind) string { return "Observer of " + string(kind) }

func userCodeCallsIn(t *testing.T, who string) {
	back := &callerBack{who: who}
	store := &memoryStore{}
	store.get = func(context.Context, string) ([]byte, error) { back.from("Store.Get"); return nil, nil }
	store.set = func(context.Context, string, []byte) error { back.from("Store.Set"); return nil }
	wrap := func(who string) Middleware {
		return func(next http.RoundTripper) http.RoundTripper {
			return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				back.from(who)
				return next.RoundTrip(req)
			})
		}
	}
	ends := at("a", "b")
	ends[0].Rewrite = func(*http.Request) error { back.from("Rewrite"); return nil }
	var turn atomic.Int64
	base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		back.from("base")
		if req.Body != nil {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
		}
		n := turn.Add(1)
		switch n % 13 { // something of everything, so that every event happens
		case 0, 1, 2:
			return failing503(req)
		case 3:
			return gives(429, asJSON, "{}")(req)
		case 4:
			return gives(429, asJSON, "{}", "Retry-After", "1")(req)
		case 5:
			return gives(401, asJSON, "{}")(req)
		}
		text := goodJSON
		if stream := callOf(req.Context()).params.Stream; stream {
			text = wholeStream
			if n%13 == 6 {
				text = goodEvent
			}
		}
		body := strings.NewReader(text)
		resp := answerFrom(200, asJSON, fakehost.ReaderFunc(func(p []byte) (int, error) {
			back.from("response body")
			return body.Read(p)
		}))
		if text != goodJSON {
			resp.Header.Set("Content-Type", asStream)
		}
		return resp, nil
	})
	rt := over(t, base, WithEndpoints(ends...), WithMiddleware(wrap("Middleware")), WithAttemptMiddleware(wrap("attempt Middleware")),
		WithRetry(RetryPolicy{MinDelay: time.Nanosecond, MaxDelay: time.Nanosecond, Attempts: 2, MaxReplay: 500}),
		WithBreaker(BreakerPolicy{Consecutive: 2, OpenFor: time.Nanosecond, MaxOpenFor: time.Nanosecond}),
		WithRateLimit(RatePolicy{InFlight: 50, PerSecond: 1e6, TokensPerMinute: 1e9}),
		WithCache(CachePolicy{TTL: time.Millisecond, Store: store, Scope: func(*http.Request) string {
			back.from("Scope")
			return "all"
		}}),
		WithObserver(func(_ context.Context, e Event) { back.from(observerOf(e.Kind)) }))
	back.rt = rt
	for n := range 60 {
		elapse(11 * time.Minute) // all pauses are over
		body := question(n % 5)
		switch {
		case n%3 == 1:
			body = strings.Replace(chatStream, `"q"`, fmt.Sprintf(`"%d"`, n%5), 1)
		case n == 59:
			body = strings.Replace(chatJSON, `"q"`, `"`+strings.Repeat("q", 600)+`"`, 1)
		}
		req, _ := post(WithCall(&contextThatCalls{t.Context(), back}, Call{Trail: &back.trail}), "https://a", body)
		req.Body = &bodyThatCalls{Reader: req.Body, back: back}
		if resp, err := rt.RoundTrip(req); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	if back.ran.Load() == 0 {
		t.Error("it never ran: nothing was tested")
	}
}

type contextThatCalls struct {
	context.Context
	back *callerBack
}

func (c *contextThatCalls) Deadline() (time.Time, bool) {
	c.back.from("request context")
	return c.Context.Deadline()
}

type bodyThatCalls struct {
	io.Reader
	back *callerBack
}

func (b *bodyThatCalls) Read(p []byte) (int, error) {
	b.back.from("request body")
	return b.Reader.Read(p)
}

func (b *bodyThatCalls) Close() error {
	b.back.from("request body")
	return nil
}

// What an Observer is told of one call, in order and whole.
func TestObserve_EventsOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Event
		base := newHosts(gives(200, asJSON, strings.Replace(goodJSON, `"total_tokens":3`, `"prompt_tokens":1,"completion_tokens":2,"total_tokens":3`, 1)))
		base.Set("a", func(req *http.Request) (*http.Response, error) { elapse(time.Second); return failing503(req) })
		rt := over(t, base, once, WithEndpoints(at("a")...), WithBackup(Endpoint{Name: "b", URL: "https://b", Keyless: true, Models: map[string]string{"m": "theirs"}}),
			WithObserver(func(_ context.Context, e Event) { told = append(told, e) }))
		begin := time.Now()
		asks(t.Context(), rt, chatJSON)
		want := []Event{
			{Kind: KindAttempt, Endpoint: "a", Model: "m", Attempt: 1, Status: 503, Class: ClassUnavailable, Verdict: VerdictElsewhere, Fault: FaultHost, Elapsed: time.Second},
			{Kind: KindCommit, Endpoint: "b", Model: "theirs", Attempt: 2, Status: 200, Class: ClassOK, Verdict: VerdictAccept},
			{Kind: KindAttempt, Endpoint: "b", Model: "theirs", Attempt: 2, Status: 200, Class: ClassOK, Verdict: VerdictAccept,
				Bytes: int64(len(goodJSON) + len(`"prompt_tokens":1,"completion_tokens":2,`)), Usage: Usage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3}},
			{Kind: KindCall, Endpoint: "b", Model: "theirs", Attempt: 2, Status: 200, Class: ClassOK, Outcome: OutcomeFailover, Elapsed: time.Second},
			{Kind: KindEnd, Endpoint: "b", Model: "theirs", Attempt: 2, Status: 200, Class: ClassOK, Outcome: OutcomeFailover, Elapsed: time.Second, FirstToken: time.Second,
				Bytes: int64(len(goodJSON) + len(`"prompt_tokens":1,"completion_tokens":2,`)), Usage: Usage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3}},
		}
		id := told[0].Call
		for i := range told {
			if told[i].Time.Sub(begin) != time.Second {
				t.Errorf("event %d was told of %v, want 1s", i+1, told[i].Time.Sub(begin))
			}
			if told[i].Call == "" || told[i].Call != id {
				t.Errorf("event %d is of the call %q, the first of %q", i+1, told[i].Call, id)
			}
			if told[i].Operation != "chat/completions" {
				t.Errorf("event %d is of the operation %q", i+1, told[i].Operation)
			}
			told[i].Time, told[i].Call, told[i].Operation = time.Time{}, "", ""
		}
		if !slices.Equal(told, want) {
			t.Errorf("told\n%+v\nwant\n%+v", told, want)
		}
	})
}

// The end tells how many bytes the caller got, also of a refusal whose length its host did not
// state.
func TestObserve_BytesOfRefusals(t *testing.T) {
	for name, host := range map[string]handler{
		"an error in a stream": gives(200, asStream, "data: {\"error\":{\"message\":\"broken\"}}\n\n"),
		"a status":             gives(500, asJSON, `{"error":{"message":"broken"}}`),
		"none of the host's":   func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") },
	} {
		bubble(t, name, func(t *testing.T) {
			var end Event
			unstated := func(req *http.Request) (*http.Response, error) {
				resp, err := host(req)
				if resp != nil {
					resp.ContentLength = -1
				}
				return resp, err
			}
			rt := over(t, newHosts(unstated), once, WithObserver(func(_ context.Context, e Event) { end = e }))
			got := asks(t.Context(), rt, chatStream)
			if end.Kind != KindEnd || end.Bytes != int64(len(got.body)) || end.Bytes == 0 {
				t.Errorf("told of %d bytes, the caller got %d", end.Bytes, len(got.body))
			}
		})
	}
}

// A stream's exchange is told of when it ends, with what it brought.
func TestObserve_EventsOfAStream(t *testing.T) {
	for _, tt := range []struct {
		name  string
		text  string
		class Class
		err   error
	}{
		{"whole", goodEvent + endEvent + usageEvent + doneEvent, ClassOK, nil},
		{"ended early", goodEvent, ClassTruncated, ErrTruncated},
		{"malformed", goodEvent + "data: {\n\n", ClassBadResponse, ErrBadResponse},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told []Event
			rt := over(t, newHosts(gives(200, asStream, tt.text)), WithObserver(func(_ context.Context, e Event) { told = append(told, e) }))
			got := asks(t.Context(), rt, chatStream)
			if last := told[len(told)-1]; last.Kind != KindEnd || last.Class != tt.class || last.Bytes != int64(len(got.body)) {
				t.Errorf("told of the end %+v, want %s and %d bytes", last, tt.class, len(got.body))
			}
			told = told[:len(told)-1]
			if tt.err != nil && len(told) == 4 {
				last := told[3]
				told = told[:3]
				if last.Kind != KindBreak || last.Reason != ReasonHost || last.Class != tt.class || !errors.Is(last.Err, tt.err) || last.Attempt != 1 {
					t.Errorf("told of the break %+v", last)
				}
			}
			if len(told) != 3 || told[0].Kind != KindCommit || told[1].Kind != KindCall || told[2].Kind != KindAttempt {
				t.Fatalf("told %+v, want commit, call, attempt, and break if it broke", told)
			}
			end := told[2]
			if end.Class != tt.class || !errors.Is(end.Err, tt.err) || end.Bytes != int64(len(got.body)) || end.Verdict != VerdictAccept {
				t.Errorf("the end: %+v, want %s, %v and %d bytes", end, tt.class, tt.err, len(got.body))
			}
			if tokens := end.Usage.TotalTokens; tt.err == nil && tokens != 3 {
				t.Errorf("usage of %d tokens, want 3", tokens)
			}
			if trail := TrailOf(got.resp); len(trail) != 1 || trail[0].Class != tt.class || trail[0].Bytes != end.Bytes {
				t.Errorf("the trail %+v tells something else than the event %+v", trail, end)
			}
		})
	}
}

// So is that of a stream which its caller leaves after the payload: by Close,
// as it likes, or because it was cancelled.
func TestObserve_EventsOfAStreamThatIsLeft(t *testing.T) {
	why := errors.New("why")
	for _, tt := range []struct {
		name  string
		leave func(h *held, cancel context.CancelCauseFunc)
		class Class
		err   error
	}{
		{"closed", func(h *held, _ context.CancelCauseFunc) { h.resp.Body.Close() }, ClassOK, nil},
		{"cancelled", func(_ *held, cancel context.CancelCauseFunc) { cancel(why) }, ClassCanceled, why},
		{"cancelled, then closed", func(h *held, cancel context.CancelCauseFunc) { cancel(why); h.resp.Body.Close() }, ClassCanceled, why},
	} {
		for _, rescue := range []Rescue{RescueOff, RescueRestart} {
			t.Run(fmt.Sprintf("%s/rescue=%d", tt.name, rescue), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var told []Event
					base := newPiped()
					rt := over(t, base, WithStream(StreamPolicy{Rescue: rescue}), WithObserver(func(_ context.Context, e Event) { told = append(told, e) }))
					ctx, cancel := context.WithCancelCause(t.Context())
					h := base.holdIn(ctx, t, rt)
					tt.leave(h, cancel)
					synctest.Wait()
					if len(told) != 4 || told[2].Kind != KindAttempt || told[3].Kind != KindEnd || told[3].Outcome != Outcome(tt.class) {
						t.Fatalf("told %+v, want commit, call, attempt, end", told)
					}
					if end := told[2]; end.Class != tt.class || !errors.Is(end.Err, tt.err) || end.Verdict != VerdictAccept || end.Bytes != int64(len(goodEvent)) {
						t.Errorf("the end: %+v, want %s, %v and %d bytes", end, tt.class, tt.err, len(goodEvent))
					}
					if trail := TrailOf(h.resp); len(trail) != 1 || trail[0].Class != tt.class || !errors.Is(trail[0].Err, tt.err) {
						t.Errorf("trail %+v, want one attempt that ended %s, %v", trail, tt.class, tt.err)
					}
					cancel(nil)
					h.leave()
				})
			})
		}
	}
}

// Every attempt in a trail is told of exactly once, and every call.
func TestObserve_EveryAttemptIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		attempts, calls := 0, 0
		turn := 0
		base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			turn++
			n := turn
			mu.Unlock()
			return []handler{failing503, refusing, gives(200, asJSON, goodJSON), gives(429, asJSON, "{}"), gives(200, asJSON, goodJSON[:30])}[n*n%5](req)
		})
		rt := over(t, base, WithEndpoints(at("a", "b")...), WithRateLimit(RatePolicy{PerSecond: 1, Burst: 2, MaxWait: Off}),
			WithObserver(func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				switch e.Kind {
				case KindAttempt:
					attempts++
				case KindCall:
					calls++
				}
			}))
		want := 0
		for range 100 {
			elapse(300 * time.Millisecond)
			got := asks(t.Context(), rt, chatJSON)
			for _, a := range TrailOf(got.resp) {
				if a.PassedOver == "" { // somebody was asked
					want++
				}
			}
		}
		if attempts != want || calls != 100 {
			t.Errorf("told of %d attempts and %d calls, want %d and 100", attempts, calls, want)
		}
		if s := rt.Status(); s.Calls != 100 {
			t.Errorf("Status().Calls = %d, want 100", s.Calls)
		}
	})
}

// All observers are told, in the order they were given.
func TestObserve_SeveralObservers(t *testing.T) {
	var told []string
	add := func(name string) Option {
		return WithObserver(func(_ context.Context, e Event) { told = append(told, name+" "+string(e.Kind)) })
	}
	asks(t.Context(), over(t, newHosts(gives(200, asJSON, goodJSON)), add("1"), add("2")), chatJSON)
	if got, want := strings.Join(told, ", "), "1 commit, 2 commit, 1 attempt, 2 attempt, 1 call, 2 call, 1 end, 2 end"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// An Observer finds the caller's own values in the context.
func TestObserve_CallersContext(t *testing.T) {
	type key struct{}
	seen := 0
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithObserver(func(ctx context.Context, e Event) {
		if ctx.Value(key{}) == "mine" {
			seen++
		}
	}))
	asks(context.WithValue(t.Context(), key{}, "mine"), rt, chatJSON)
	if seen != 4 {
		t.Errorf("%d of 4 events came with the caller's context", seen)
	}
}

// The events of a call say what it asks for.
func TestObserve_EventsTellTheOperation(t *testing.T) {
	for _, tt := range []struct {
		method, path, ask, operation string
		stream                       bool
	}{
		{"POST", "/chat/completions", chatJSON, "chat/completions", false},
		{"POST", "/chat/completions", chatStream, "chat/completions", true},
		{"POST", "/beta/completions", `{"model":"m","prompt":"q"}`, "completions", false},
		{"POST", "/v1/responses", `{"model":"m","input":"q","stream":true}`, "responses", true},
		{"POST", "/v1/messages", `{"model":"m","messages":[],"stream":true}`, "messages", true},
		{"POST", "/v1/embeddings", `{"model":"m","input":"q"}`, "embeddings", false},
		{"GET", "/models", "", "", false},
	} {
		t.Run(tt.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kinds := make(map[Kind]int)
				rt := over(t, newHosts(failing503), once, WithEndpoints(at("a")...), WithObserver(func(_ context.Context, e Event) {
					if kinds[e.Kind]++; e.Call != "" && (e.Operation != tt.operation || e.Stream != tt.stream) {
						t.Errorf("%s is of the operation %q, as a stream: %v", e.Kind, e.Operation, e.Stream)
					}
				}))
				asks(t.Context(), rt, tt.ask, func(req *http.Request) {
					if req.Method, req.URL.Path = tt.method, tt.path; tt.ask == "" {
						req.Body, req.GetBody, req.ContentLength = nil, nil, 0
					}
				})
				synctest.Wait()
				if kinds[KindAttempt] == 0 || kinds[KindCall] != 1 || kinds[KindEnd] != 1 {
					t.Errorf("told of %v", kinds)
				}
			})
		})
	}
}

// An event tells all that the trail knows of an attempt and an event has a field for.
func TestObserve_EventsCarryTheAttempt(t *testing.T) {
	var a Attempt
	from := reflect.ValueOf(&a).Elem()
	for i := range from.NumField() {
		fill(from.Field(i))
	}
	event := reflect.ValueOf(a.event(KindAttempt))
	for i := range event.NumField() {
		name := event.Type().Field(i).Name
		source := from.FieldByName(map[string]string{"Attempt": "N"}[name])
		if !source.IsValid() {
			source = from.FieldByName(name)
		}
		if source.IsValid() && !source.Equal(event.Field(i)) {
			t.Errorf("%s = %v, want %v", name, event.Field(i), source)
		}
	}
}

// fill gives v some value that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Interface:
		v.Set(reflect.ValueOf(ErrStalled))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	}
}

// Log leaves no field of an event out; the time is the record's own, and what a request asks
// for is known to its caller.
func TestObserve_LogWritesEachField(t *testing.T) {
	write := func(e Event) string {
		var b strings.Builder
		Log(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))(t.Context(), e)
		_, text, _ := strings.Cut(b.String(), "level=")
		return text
	}
	for i := range reflect.TypeFor[Event]().NumField() {
		var e Event
		field := reflect.ValueOf(&e).Elem().Field(i)
		switch fill(field); reflect.TypeFor[Event]().Field(i).Name {
		case "Time", "Operation", "Stream":
			continue
		}
		if write(e) == write(Event{}) {
			t.Errorf("%s is not written", reflect.TypeFor[Event]().Field(i).Name)
		}
	}
}

// What Log writes, and how loud.
func TestObserve_Log(t *testing.T) {
	for _, tt := range []struct {
		event Event
		want  string
	}{
		{Event{Kind: KindKey, Endpoint: "a", Class: ClassKeyRejected, Status: 401}, "ERROR key endpoint=a status=401 class=key_rejected"},
		{Event{Kind: KindHealth, Endpoint: "a", Health: &HealthStatus{Reachable: FindingYes, Credential: FindingNo, Missing: []string{"m"}}}, "WARN health endpoint=a reachable=yes credential=no missing=[m]"},
		{Event{Kind: KindHealth, Endpoint: "a", Health: &HealthStatus{Reachable: FindingYes}}, "INFO health endpoint=a reachable=yes"},
		{Event{Kind: KindBalance, Endpoint: "a", Health: &HealthStatus{Balance: &BalanceStatus{Amount: 7.5, Currency: "CNY", Left: 9 * time.Hour}}}, "WARN balance endpoint=a balance=7.5 currency=CNY left=9h0m0s"},
		{Event{Kind: KindKey, Endpoint: "a", Err: ErrNoKey}, "WARN key endpoint=a err=\"neither the call nor its endpoint has a key\""},
		{Event{Kind: KindAttempt, Endpoint: "a", Class: ClassUnavailable, Attempt: 2, Verdict: VerdictAgain}, "INFO attempt endpoint=a attempt=2 class=unavailable verdict=again"},
		{Event{Kind: KindAttempt, Class: ClassOK, Bytes: 7, Usage: Usage{TotalTokens: 3}}, "DEBUG attempt class=ok bytes=7 tokens=3"},
		{Event{Kind: KindAttempt, Class: ClassCanceled}, "DEBUG attempt class=canceled"},
		{Event{Kind: KindPause, Wait: time.Second}, "INFO pause wait=1s"},
		{Event{Kind: KindBudget}, "INFO budget"},
		{Event{Kind: KindCacheStale, From: "error"}, "INFO cache_stale from=error"},
		{Event{Kind: KindCacheStale, From: "revalidate"}, "DEBUG cache_stale from=revalidate"},
		{Event{Kind: KindCacheError, Err: io.ErrUnexpectedEOF}, "WARN cache_error err=\"connection closed\""},
		{Event{Kind: KindCacheError, Err: errors.New("redis://user:secret@host")}, "WARN cache_error"},
		{Event{Kind: KindCacheError, Err: store.ErrSlow}, "WARN cache_error err=\"the Store did not answer in time\""},
		{Event{Kind: KindCircuit, From: "closed", To: "open"}, "INFO circuit from=closed to=open"},
		{Event{Kind: KindUnbuffered, Bytes: 9}, "INFO unbuffered bytes=9"},
		{Event{Kind: KindCacheHit}, "DEBUG cache_hit"},
		{Event{Kind: KindCall, Model: "m", Elapsed: time.Minute}, "DEBUG call model=m elapsed=1m0s"},
	} {
		var b strings.Builder
		handler := slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		Log(slog.New(handler))(t.Context(), tt.event)
		level, rest, _ := strings.Cut(tt.want, " ")
		kind, attrs, _ := strings.Cut(rest, " ")
		want := strings.TrimSpace(fmt.Sprintf("level=%s msg=%q %s", level, "breakwater: "+kind, attrs)) + "\n"
		if b.String() != want {
			t.Errorf("Log(%+v) wrote %q, want %q", tt.event, b.String(), want)
		}
		b.Reset()
		Log(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelError + 1})))(t.Context(), tt.event)
		if b.Len() != 0 {
			t.Errorf("a logger that wants nothing was given %q", b.String())
		}
	}
}

// Who leaves between the commit and RoundTrip's return ends an attempt that is
// told of, once, as any other.
func TestObserve_LeavingAtTheCommitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var told []string
		base := newHosts(refusing)
		rt := over(t, base, WithEndpoints(at("a")...), WithBreaker(BreakerPolicy{Consecutive: 1}), WithRetry(RetryPolicy{Attempts: 1}),
			WithObserver(func(_ context.Context, e Event) {
				switch {
				case e.Kind == KindCircuit && e.To == "closed":
					cancel()
					synctest.Wait()
				case e.Kind == KindAttempt, e.Kind == KindCommit:
					told = append(told, string(e.Kind)+" "+string(e.Class))
				}
			}))
		asks(t.Context(), rt, chatStream)
		elapse(time.Minute)
		told = nil
		base.Set("a", gives(200, asStream, goodEvent))
		got := asks(ctx, rt, chatStream)
		if s := strings.Join(told, ", "); s != "commit canceled, attempt canceled" || !errors.Is(got.err, context.Canceled) {
			t.Errorf("%v, told %s", got, s)
		}
	})
}

// The counts are of all that was sent, and of the calls that nobody answered:
// not of those whose callers had left.
func TestObserve_Counts(t *testing.T) {
	n := 0
	rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
		if n++; n%2 == 1 {
			return answer(200, asStream, goodEvent), nil
		}
		return answer(200, asStream, wholeStream), nil
	}), WithEndpoints(at("a")...), WithStream(StreamPolicy{Rescue: RescueRestart}))
	asks(t.Context(), rt, chatStream)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	asks(gone, rt, chatStream)
	if s := rt.Status(); s.Calls != 1 || s.Failed != 0 || s.Attempts != 2 {
		t.Errorf("Status() = %d calls, %d failed, %d attempts, want 1, 0 and 2: a stream and its rescue", s.Calls, s.Failed, s.Attempts)
	}
}

// An Observer may close the very stream whose event it is told, and nobody
// waits for anybody for ever; what was held is given back, and no host is asked
// any more. Of a stream that breaks, a rescue's events come to its reader, too.
func TestObserve_ObserversMayCloseTheStream(t *testing.T) {
	whole := gives(200, asStream, goodEvent+event("more")+finishEvent+doneEvent)
	broken := breaks(asStream, goodEvent)
	resting := gives(429, asJSON, "{}", "Retry-After", "5")
	cached := WithCache(CachePolicy{})
	for _, tt := range []struct {
		name  string
		kind  Kind
		hosts []handler // by attempt
		opts  []Option
	}{
		{"the end", KindAttempt, []handler{whole}, nil},
		{"the end, cached", KindAttempt, []handler{whole}, []Option{cached}},
		{"the break", KindAttempt, []handler{broken, whole}, nil},
		{"the break, cached", KindAttempt, []handler{broken, whole}, []Option{cached}},
		{"a rescue's commit", KindCommit, []handler{broken, whole}, nil},
		{"a rescue's commit, cached", KindCommit, []handler{broken, whole}, []Option{cached}},
		{"a rescue", KindRescue, []handler{broken, whole}, nil},
		{"a rescue, cached", KindRescue, []handler{broken, whole}, []Option{cached}},
		{"a rescue's wait", KindWait, []handler{resting, broken, failing503, whole}, nil},
		{"a rescue's wait, cached", KindWait, []handler{resting, broken, failing503, whole}, []Option{cached}},
		{"a rescue denied", KindBudget, []handler{broken, whole}, []Option{WithRetry(RetryPolicy{Budget: Off})}},
		{"a rescue denied, cached", KindBudget, []handler{broken, whole}, []Option{WithRetry(RetryPolicy{Budget: Off}), cached}},
		{"kept", KindCacheStore, []handler{whole}, []Option{cached}},
		{"kept behind a rescue", KindCacheStore, []handler{broken, whole}, []Option{cached}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					asked++
					return tt.hosts[min(asked, len(tt.hosts))-1](req)
				})
				var body io.Closer
				toldAfter := 0 // so many attempts
				rt := over(t, base, append(tt.opts, noBreaker, WithEndpoints(at("a", "b")...), WithRateLimit(RatePolicy{InFlight: 1}), WithStream(StreamPolicy{Rescue: RescueRestart}),
					WithObserver(func(_ context.Context, e Event) {
						if e.Kind == tt.kind && body != nil {
							toldAfter = asked
							body.Close()
						}
					}))...)
				req, _ := post(t.Context(), "https://a", chatStream)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body = resp.Body
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				synctest.Wait()
				if err == nil && !strings.HasSuffix(string(text), doneEvent) {
					t.Errorf("a clean end behind %q", text)
				}
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
				if toldAfter == 0 {
					t.Fatal("no such event: nothing was tested")
				}
				if asked != toldAfter {
					t.Errorf("%d attempts, %d of them before the stream was closed: nobody reads of the others", asked, toldAfter)
				}
			})
		})
	}
}
