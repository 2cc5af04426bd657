package breakwater

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Calls that share one attempt share its new key, and a renewal gets one, too.
func TestKeyFunc_SharedAndRenewed(t *testing.T) {
	v := &vault{keys: []string{"sk-old", "sk-primary", "sk-new"}}
	kept := WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Hour})
	inWorld(t, "primary", []Option{keyedBy(v.key), kept}, func(w *world) {
		primary := w.fleet.Server("primary")
		primary.SetPace(kit.Pace{Queue: time.Second})
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if reply, err := w.call("q", false); err != nil || reply.Content != kit.Answer("q") {
					t.Errorf("%q, %v", reply.Content, err)
				}
			})
		}
		all.Wait()
		if n := len(primary.Requests()); n != 2 {
			t.Errorf("the host got %d requests for one shared answer", n)
		}
		elapse(2 * time.Minute)
		primary.SetKeys("sk-new")
		w.call("q", false) // stale, and renewed
		elapse(10 * time.Second)
		if got := fmt.Sprint(v.rejected()); got != "[sk-old sk-primary]" {
			t.Errorf("asked again for %s", got)
		}
		if n := len(primary.Requests()); n != 4 {
			t.Errorf("the host got %d requests, want two for the renewal", n)
		}
		if pauses := w.rt.Status().Endpoints[0].Pauses; len(pauses) > 0 {
			t.Errorf("the endpoint rests: %+v", pauses)
		}
	})
}

// Only the function of the endpoint that gets an attempt is asked: not that of another one
// that the call may not go to, nor that of one behind an open circuit.
func TestKeyFunc_IsAskedOnlyForAttempts(t *testing.T) {
	v := &vault{keys: []string{"sk-primary"}}
	inWorld(t, "primary backup", []Option{keyedBy(v.key)}, func(w *world) {
		w.callWith(WithCall(w.t.Context(), Call{Endpoints: []string{"backup"}}), "elsewhere", false, nil)
		if len(v.asked) != 0 {
			t.Errorf("asked %d times for a call that may not go there", len(v.asked))
		}
		w.fleet.Server("primary").Break(kit.Refused())
		for range 8 {
			w.call("q", false)
		}
		if len(v.asked) != 5 {
			t.Errorf("asked %d times, want it for the 5 attempts until the circuit opened", len(v.asked))
		}
	})
}

// A probe has the key of the function, and ends a rest when a new key works.
func TestKeyFunc_Probes(t *testing.T) {
	v := &vault{keys: []string{"sk-old"}}
	probes := WithProbes(ProbePolicy{Every: time.Minute})
	inWorld(t, "primary backup", []Option{keyedBy(v.key), probes}, func(w *world) {
		w.call("q", false)
		if pauses := w.rt.Status().Endpoints[0].Pauses; len(pauses) != 1 {
			t.Fatalf("pauses %+v", pauses)
		}
		elapse(3 * time.Minute) // a probe sees the refusal
		v.mu.Lock()
		v.keys = []string{"sk-primary"}
		v.mu.Unlock()
		elapse(5 * time.Minute) // the rest would last two minutes more
		for _, req := range w.fleet.Server("primary").Requests() {
			if req.Key != "sk-old" && req.Key != "sk-primary" {
				t.Errorf("%s %s with the key %q", req.Method, req.Path, req.Key)
			}
		}
		if reply, err := w.call("after", false); err != nil || reply.Fingerprint != "fp_primary" {
			t.Errorf("%s, %v", reply.Fingerprint, err)
		}
	})
}

// A key that a host quotes in its id of a request is in no trail.
func TestKeyFunc_IsNotQuoted(t *testing.T) {
	base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := memoryBase("application/json", `{"model":"sk-5ec4e7-5ec4e7",`+goodJSON[1:]).RoundTrip(req)
		resp.Header.Set("X-Request-Id", "of sk-5ec4e7-5ec4e7")
		return resp, err
	})
	e := DeepSeek("")
	e.KeyFunc = func(context.Context, string) (string, error) { return "sk-5ec4e7-5ec4e7", nil }
	rt := over(t, base, WithEndpoints(e))
	trail := &Trail{}
	roundTrip(t, WithCall(t.Context(), Call{Trail: trail}), rt, chat2K)
	if a := trail.Attempts()[0]; a.RequestID != "" || a.Served != "" {
		t.Errorf("the trail quotes a key: %+v", a)
	}
}

// A function may use the Transport's own Status, and another Transport, and its error may be
// one of ours: it is the function's all the same.
func TestKeyFunc_MayCallIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rt *Transport
		inner := &Error{Class: ClassUnavailable}
		rt = over(t, memoryBase("application/json", goodJSON), WithErrors(), WithEndpoints(Endpoint{URL: "https://api.deepseek.com", KeyFunc: func(context.Context, string) (string, error) {
			rt.Status()
			rt.Ready()
			return "", inner
		}}))
		req, _ := kit.ChatRequest(t.Context(), "https://api.deepseek.com", "", testModel, "q", false)
		_, err := rt.RoundTrip(req)
		failure, ok := errors.AsType[*Error](err)
		if !ok || failure == inner || failure.Class != ClassNoKey || !errors.Is(err, ErrKeyFunc) || !errors.Is(err, inner) {
			t.Errorf("%#v", err)
		}
	})
}
