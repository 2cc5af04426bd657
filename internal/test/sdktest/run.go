package sdktest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Run runs all behaviours under an SDK, chats and streams, and compares what
// came of it with the SDK's row in the table in docs/clients.md.
func Run(t *testing.T, sdk SDK) {
	row := []string{sdk.Name}
	cell := func(name string, check func(*testing.T, SDK) string) {
		result := "✗"
		t.Run(name, func(t *testing.T) {
			if got := check(t, sdk); !t.Failed() {
				result = got
			}
		})
		row = append(row, result)
	}
	cell("as with the plain transport", asPlain)
	cell("behaviours", behaves)
	cell("errors", errorsKeep)
	cell("cut streams", cutStreams)
	cell("rescued streams", rescues)
	cell("keep-alives", keepAlives)
	cell("cache", caches)
	cell("limits", limits)
	cell("cancel", cancels)
	cell("an outage", outage)
	if !t.Failed() {
		checkRow(t, row)
	}
}

// eachWay runs f for chats and for streams.
func eachWay(t *testing.T, f func(t *testing.T, stream bool)) {
	t.Run("chat", func(t *testing.T) { f(t, false) })
	t.Run("stream", func(t *testing.T) { f(t, true) })
}

const yes = "✓"

// asPlain: over a healthy API, and over one that refuses, everything is as it
// is over the plain transport.
func asPlain(t *testing.T, sdk SDK) string {
	for _, tt := range []struct {
		name  string
		fault kit.Fault
		tool  string
	}{
		{name: "well"}, {name: "a tool", tool: "get_weather"},
		{name: "400", fault: invalid}, {name: "401", fault: kit.Unauthorized()}, {name: "402", fault: kit.InsufficientBalance()},
		{name: "404", fault: kit.ModelNotFound()}, {name: "422", fault: kit.Status(422, "application/json", `{"error":{"message":"Invalid Parameters","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`)},
		{name: "context length", fault: kit.ContextLength()}, {name: "content filter", fault: kit.ContentFilter()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, stream bool) {
				q := Question{model, "what is a quay?", tt.tool}
				w := newWorld(t, sdk, true)
				w.server("primary").Break(tt.fault)
				plain := sdk.New(w.baseURL(), &http.Client{Transport: w.base()})
				want, wantErr := asks(t.Context(), plain, sdk.ask(q), stream)
				alone := aloneOn(t, w)
				got, err := asks(t.Context(), sdk.New(w.baseURL(), &http.Client{Transport: alone}), sdk.ask(q), stream)
				wantAPI, wantTyped := plain.APIError(wantErr)
				api, typed := plain.APIError(err)
				if sdk.Model == "deepseek-chat" {
					want.Reasoning = "" // the fake thinks under that name, too; DeepSeek did not
				}
				if sdk.Model != "" { // breakwater says its name of today
					want.Model = strings.ReplaceAll(want.Model, sdk.Model, model)
					wantAPI.Message = strings.ReplaceAll(wantAPI.Message, sdk.Model, model)
					api.Message = strings.ReplaceAll(api.Message, sdk.Model, model)
				}
				if got != want || (err == nil) != (wantErr == nil) || typed != wantTyped || api != wantAPI || reflect.TypeOf(err) != reflect.TypeOf(wantErr) {
					t.Errorf("with breakwater %+v, %v, with the plain transport %+v, %v", got, err, want, wantErr)
				}
			})
		})
	}
	return yes
}

// aloneOn is breakwater as `New()` makes it, with no endpoint to go to but the
// one that is asked.
func aloneOn(t *testing.T, w *world, opts ...breakwater.Option) *breakwater.Transport {
	t.Helper()
	rt, err := breakwater.New(append([]breakwater.Option{breakwater.WithBase(w.base())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	return rt
}

// behaves: the table of behaviours.
func behaves(t *testing.T, sdk SDK) string {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, stream bool) { b.behaves(t, sdk, stream) })
		})
	}
	return yes
}

// errorsKeep: how an answer that breakwater wrote itself surfaces, whether no
// host answered or their circuits are open.
func errorsKeep(t *testing.T, sdk SDK) string {
	w := newWorld(t, sdk, false, breakwater.WithBreaker(breakwater.BreakerPolicy{Consecutive: 1, OpenFor: time.Minute}))
	w.breaks("primary", kit.Refused())
	w.breaks("backup", kit.Refused())
	surfaces := func(err error, message string) bool {
		api, typed := w.client.APIError(err)
		return typed && strings.Contains(api.Message, message) && (api.Status == 503 || sdk.NoStatus && api.Status == 0)
	}
	q := Question{Model: model, Prompt: "is anybody there?"}
	if _, _, err := w.ask(t.Context(), q, false); !surfaces(err, "no endpoint answered: primary: unreachable") {
		t.Errorf("got %T: %v, want status and message", err, err)
	}
	// A caller in a hurry, who cannot wait for leave to probe: such leave comes once a second.
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, _, err := w.ask(ctx, q, false)
		cancel()
		if surfaces(err, "circuit_open") {
			break
		}
		if try == 100 { // a busy machine may take all of the time
			t.Errorf("behind open circuits: got %T: %v, want status and message", err, err)
			break
		}
	}
	if sdk.NoStatus {
		return "in the text"
	}
	return "status, message"
}

// cutStreams: no SDK takes a cut stream for a whole one.
func cutStreams(t *testing.T, sdk SDK) string {
	w := newWorld(t, sdk, false)
	w.breaks("primary", kit.EndStream(3))
	_, _, err := w.ask(t.Context(), Question{Model: model, Prompt: "cut"}, true)
	switch {
	case err == nil:
		t.Error("a cut stream came as a whole one")
	case errors.Is(err, breakwater.ErrTruncated):
		return "`ErrTruncated`"
	}
	return "an error"
}

// rescues checks that a stream that another attempt continues, at another host or the
// same one, is one answer to the SDK.
func rescues(t *testing.T, sdk SDK) string {
	if sdk.Wire != kit.Chat {
		return "chats only"
	}
	for _, rescue := range []struct {
		name  string
		cut   int // events of the primary's answer
		mode  breakwater.Rescue
		trail string
	}{
		{"by going on at the primary", 10, breakwater.RescueContinue, "primary truncated, primary ok"},
		{"by a restart at the backup", 2, breakwater.RescueRestart, "primary truncated, backup ok"},
	} {
		t.Run(rescue.name, func(t *testing.T) {
			w := newWorld(t, sdk, false, breakwater.WithStream(breakwater.StreamPolicy{Rescue: rescue.mode}))
			w.server("primary").BreakNext(1, kit.EndStream(rescue.cut))
			const prompt = "what is a breakwater?"
			got, trail, err := w.ask(t.Context(), Question{Model: "deepseek-chat", Prompt: prompt}, true)
			if err != nil || got.Text != kit.Answer(prompt) || got.Finish != "stop" && !sdk.NoFinish || got.Reasoning != "" {
				t.Errorf("got %+v, %v, want all of %q", got, err, kit.Answer(prompt))
			}
			var attempts []string
			for _, a := range trail {
				attempts = append(attempts, a.Endpoint+" "+string(a.Class))
			}
			if got := strings.Join(attempts, ", "); got != rescue.trail {
				t.Errorf("the trail has %s, want %s", got, rescue.trail)
			}
			if s := w.rt.Status(); s.Calls != 1 {
				t.Errorf("the SDK made %d calls of one", s.Calls)
			}
		})
	}
	return yes
}

// keepAlives: hundreds of them before an answer, over which several SDKs trip
// by themselves.
func keepAlives(t *testing.T, sdk SDK) string {
	trips := false
	eachWay(t, func(t *testing.T, stream bool) {
		q := sdk.ask(Question{Model: model, Prompt: "wait"})
		w := newWorld(t, sdk, false)
		w.server("primary").Break(kit.ManyKeepAlives(400))
		if got, _, err := w.ask(t.Context(), q, stream); err != nil || !got.same(w.whole(q, "primary", stream)) {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := asks(t.Context(), sdk.New(w.baseURL(), &http.Client{Transport: w.base()}), q, stream); err != nil {
			trips = true
		}
	})
	if trips {
		return yes + ", alone: error"
	}
	return yes
}

// caches: the same question is asked once; what is kept answers in either form,
// and while all hosts are down.
func caches(t *testing.T, sdk SDK) string {
	eachWay(t, func(t *testing.T, stream bool) {
		w := newWorld(t, sdk, false, breakwater.WithCache(breakwater.CachePolicy{TTL: time.Millisecond, StaleWhileRevalidate: breakwater.Off}))
		q := Question{Model: model, Prompt: "again"}
		first, _, err := w.ask(t.Context(), q, stream)
		if err != nil || !first.same(w.whole(q, "primary", stream)) {
			t.Fatalf("got %+v, %v", first, err)
		}
		w.breaks("primary", kit.Refused())
		w.breaks("backup", kit.Refused())
		for _, form := range []bool{stream, !stream} {
			if got, _, err := w.ask(t.Context(), q, form); err != nil || !got.same(w.whole(q, "primary", form)) {
				t.Errorf("while all are down, streamed: %v, got %+v, %v", form, got, err)
			}
		}
	})
	eachWay(t, func(t *testing.T, stream bool) {
		w := newWorld(t, sdk, false, breakwater.WithCache(breakwater.CachePolicy{}))
		q := Question{Model: model, Prompt: "again"}
		for range 3 {
			if got, _, err := w.ask(t.Context(), q, stream); err != nil || !got.same(w.whole(q, "primary", stream)) {
				t.Errorf("got %+v, %v", got, err)
			}
		}
		if s := w.rt.Status().Cache; s.Hits != 2 || len(w.server("primary").Requests()) != 1 {
			t.Errorf("%d hits, %d requests, want 2 and 1", s.Hits, len(w.server("primary").Requests()))
		}
	})
	return yes
}

// limits: a permit is held to the end of an answer and given back there, though
// the SDK may neither read to the end nor close.
func limits(t *testing.T, sdk SDK) string {
	eachWay(t, func(t *testing.T, stream bool) {
		w := newWorld(t, sdk, false, breakwater.WithRateLimit(breakwater.RatePolicy{InFlight: 1, MaxWait: time.Minute}))
		for range 5 {
			q := Question{Model: model, Prompt: "one at a time"}
			if got, _, err := w.ask(t.Context(), q, stream); err != nil || !got.same(w.whole(q, "primary", stream)) {
				t.Errorf("got %+v, %v", got, err)
			}
		}
		for _, e := range w.rt.Status().Endpoints {
			for _, l := range e.Limits {
				if l.InFlight != 0 {
					t.Errorf("%s: %d permits are still out", e.Name, l.InFlight)
				}
			}
		}
		w.breaks("primary", invalid)
		if _, _, err := w.ask(t.Context(), Question{Model: model, Prompt: "refused"}, stream); err == nil {
			t.Error("a refusal came as an answer")
		}
		w.breaks("primary", kit.Fault{})
		if _, _, err := w.ask(t.Context(), Question{Model: model, Prompt: "and again"}, stream); err != nil {
			t.Errorf("after a refusal: %v", err)
		}
	})
	return yes
}

// cancels: the caller's cancel ends the call, is no endpoint's failure, and is
// found with errors.Is.
func cancels(t *testing.T, sdk SDK) string {
	found := "`context.Canceled`"
	eachWay(t, func(t *testing.T, stream bool) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		duringAttempt := func(next http.RoundTripper) http.RoundTripper {
			return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				cancel()
				return next.RoundTrip(req)
			})
		}
		w := newWorld(t, sdk, false, breakwater.WithAttemptMiddleware(duringAttempt))
		_, trail, err := w.ask(ctx, Question{Model: model, Prompt: "leave"}, stream)
		switch {
		case err == nil:
			t.Error("a cancelled call came as an answer")
		case !errors.Is(err, context.Canceled):
			found = "an error"
		}
		if got, want := sum(trail), "1 primary canceled"; got != want {
			t.Errorf("the trail has %s, want %s", got, want)
		}
		if s := w.rt.Status(); s.Calls != 1 {
			t.Errorf("the SDK made %d calls of one", s.Calls)
		}
	})
	return found
}

// outage: how many requests one call makes of an SDK while the host is down:
// over the plain transport, and over breakwater, whose tries the SDK's own do
// not multiply.
func outage(t *testing.T, sdk SDK) string {
	counts := func(make func(w *world) http.RoundTripper) int {
		w := newWorld(t, sdk, true)
		w.server("primary").Break(kit.Busy())
		client := sdk.New(w.baseURL(), &http.Client{Transport: make(w)})
		if _, err := client.Chat(t.Context(), sdk.ask(Question{Model: model, Prompt: "down"})); err == nil {
			t.Error("a host that is down answered")
		}
		return len(w.server("primary").Requests())
	}
	plain := counts(func(w *world) http.RoundTripper { return w.base() })
	guarded := counts(func(w *world) http.RoundTripper {
		return aloneOn(t, w, breakwater.WithRetry(breakwater.RetryPolicy{MinDelay: time.Millisecond, MaxDelay: time.Millisecond}))
	})
	if guarded > 4 {
		t.Errorf("%d requests for one call, want 4 at most", guarded)
	}
	return fmt.Sprintf("%d, alone: %d", guarded, plain)
}
