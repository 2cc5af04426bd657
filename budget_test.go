package breakwater

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// asksHost asks a host by its name, as asks does of "a".
func asksHost(ctx context.Context, rt http.RoundTripper, host, body string) seen {
	return asks(ctx, rt, body, func(req *http.Request) { req.URL.Host = host })
}

// hiccups answers, and fails every other attempt.
func hiccups(good handler) handler {
	n := 0
	return func(req *http.Request) (*http.Response, error) {
		if n++; n%2 == 1 {
			return failing503(req)
		}
		return good(req)
	}
}

// Each account has a budget of its own: one that fails all the time takes nothing from one
// that fails now and then, whether the user gave endpoints or not.
func TestBudget_IsOfTheAccount(t *testing.T) {
	for name, opts := range map[string][]Option{
		"alone":     nil,
		"endpoints": {WithEndpoints(at("sick", "well")...)},
		"tiers":     {WithEndpoints(at("sick")...), WithBackup(at("well")...)},
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(hiccups(gives(200, asJSON, goodJSON)))
			base.Set("sick", failing503)
			rt := over(t, base, append(opts, noBreaker)...)
			only := func(endpoint string) context.Context {
				if opts == nil {
					return t.Context()
				}
				return WithCall(t.Context(), Call{Endpoint: endpoint})
			}
			for range 60 {
				asksHost(only("sick"), rt, "sick", chatJSON)
			}
			if n := base.Count("sick"); n > 60+60/5+budgetFloor {
				t.Errorf("60 calls to the sick host were %d attempts, want at most %d", n, 60+60/5+budgetFloor)
			}
			for n := range 8 {
				if got := asksHost(only("well"), rt, "well", chatJSON); got.body != goodJSON {
					t.Errorf("hiccup %d of the host that is well: got %v, want a second attempt that answers", n+1, got)
				}
			}
		})
	}
}

// Two endpoints of one account share its budget.
func TestBudget_IsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := at("a", "b")
		ends[0].Account, ends[1].Account = "both", "both"
		base := newHosts(failing503)
		rt := over(t, base, noBreaker, WithEndpoints(ends...))
		const each = 30
		for range each {
			asks(WithCall(t.Context(), Call{Endpoint: "a"}), rt, chatJSON)
			asks(WithCall(t.Context(), Call{Endpoint: "b"}), rt, chatJSON)
		}
		const calls = 2 * each
		if n := base.Count(""); n < calls+budgetFloor || n > calls+calls/5+2*budgetFloor { // it lasts some more than a minute
			t.Errorf("%d calls at two endpoints of an account were %d attempts, want some %d", calls, n, calls+calls/5+budgetFloor)
		}
	})
}

// What a hedge or a rescue takes, the account that is slow or broke pays for, not the one
// that helps out.
func TestBudget_TheCauseIsCharged(t *testing.T) {
	broken := gives(200, asStream, goodEvent)
	for _, tt := range []struct {
		name  string
		sick  handler
		opts  []Option
		spent int // extra attempts of the sick one until its budget is spent
	}{
		{"hedges", fakehost.After(time.Minute, gives(200, asStream, wholeStream)), []Option{WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true})}, 60},
		{"rescues", broken, []Option{WithStream(StreamPolicy{Rescue: RescueRestart})}, 60},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			hiccup := false
			well := func(req *http.Request) (*http.Response, error) {
				if hiccup = !hiccup && callOf(req.Context()).Endpoint == "well"; hiccup {
					return failing503(req)
				}
				return gives(200, asStream, wholeStream)(req)
			}
			base := newHosts(well)
			base.Set("sick", tt.sick)
			denied := map[string]int{}
			rt := over(t, base, append(tt.opts, noBreaker, WithEndpoints(at("sick")...), WithBackup(at("well")...), WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindBudget {
					denied[e.Endpoint]++
				}
			}))...)
			for range tt.spent {
				asksHost(t.Context(), rt, "sick", chatStream)
			}
			if denied["sick"] == 0 || denied["well"] > 0 {
				t.Fatalf("denied: %v, want some of the sick one, and none of the other", denied)
			}
			for n := range 5 {
				if got := asksHost(WithCall(t.Context(), Call{Endpoint: "well"}), rt, "sick", chatStream); got.body != wholeStream {
					t.Errorf("hiccup %d: got %v, want a second attempt that answers", n+1, got)
				}
			}
		})
	}
}

// Close leaves the idle connections of a base that is the user's, because others may use
// it. Who asks for it, as http.Client does, has them closed.
func TestClose_LeavesTheUsersBase(t *testing.T) {
	base := &closable{RoundTripper: newHosts(gives(200, asJSON, goodJSON))}
	rt := over(t, base)
	asks(t.Context(), rt, chatJSON)
	rt.Close()
	if base.closed != 0 {
		t.Error("Close closed the idle connections of the user's base")
	}
	(&http.Client{Transport: rt}).CloseIdleConnections()
	if base.closed != 1 {
		t.Errorf("CloseIdleConnections was passed on %d times, want once", base.closed)
	}
}

// A closable counts how often its idle connections are closed.
type closable struct {
	http.RoundTripper
	closed int
}

func (c *closable) CloseIdleConnections() { c.closed++ }

// The connections of breakwater's own base end with Close.
func TestClose_ClosesItsOwnBase(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", asJSON)
		io.WriteString(w, goodJSON)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	defer server.Close()
	rt, err := New()
	if err != nil {
		t.Fatal(err)
	}
	req, _ := post(t.Context(), server.URL, chatJSON)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	rt.Close()
	select {
	case <-closed:
	case <-t.Context().Done():
	}
}

// What was taken for an attempt that is not made comes back: if the caller leaves while it
// waits, if the plan changes meanwhile, or if an Observer panics.
func TestBudget_ComesBack(t *testing.T) {
	left := func(rt *Transport, account int) (n int) {
		for rt.now().upstreams.all()[account].budget.Take(time.Now()) {
			n++
		}
		return n
	}
	bubble(t, "callers who leave", func(t *testing.T) {
		rt := over(t, newHosts(failing503), noBreaker, WithEndpoints(at("a")...))
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			time.AfterFunc(100*time.Millisecond, cancel) // within the first backoff
			asks(ctx, rt, chatJSON)
		}
		if n := left(rt, 0); n != 10+budgetFloor {
			t.Errorf("%d extra attempts are left of 50 calls, want all %d", n, 10+budgetFloor)
		}
	})
	bubble(t, "plans that change", func(t *testing.T) {
		var rt *Transport
		asked := 0
		rt = over(t, newHosts(func(req *http.Request) (*http.Response, error) {
			if asked++; asked%2 == 0 {
				return answer(200, asJSON, goodJSON), nil
			}
			time.AfterFunc(100*time.Millisecond, func() { // a pause of another call's begins while this one waits
				rt.now().failover.pauses.Ask(pauseKey{endpoint: rt.now().tiers[0][0].identity}, time.Now(), 2*time.Second, nil)
			})
			return failing503(req)
		}), noBreaker, WithEndpoints(at("a")...))
		for range 5 {
			if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON || got.header(headerAttempts) != "2" {
				t.Fatalf("got %v", got)
			}
		}
		if n := left(rt, 0); n != budgetFloor+1-5 {
			t.Errorf("%d extra attempts are left of 5 calls that made 5, want %d", n, budgetFloor+1-5)
		}
	})
	bubble(t, "an Observer that panics at a hedge", func(t *testing.T) {
		o := &outcry{kind: KindHedge}
		rt := over(t, newHosts(fakehost.After(3*time.Second, gives(200, asJSON, goodJSON))), WithStream(StreamPolicy{Hedge: time.Second}), WithEndpoints(at("a", "b")...), WithObserver(o.observe))
		for range 10 {
			func() {
				defer func() { _ = recover() }()
				asks(t.Context(), rt, chatJSON)
			}()
			elapse(time.Second)
		}
		if n := left(rt, 0) + left(rt, 1); o.cries != 10 || n != 2*(budgetFloor+1) {
			t.Errorf("%d extra attempts are left after %d panics, want all %d", n, o.cries, 2*(budgetFloor+1))
		}
		if held := stillHeld(rt); held != "" {
			t.Errorf("%s is held", held)
		}
	})
	bubble(t, "an Observer that panics at a wait", func(t *testing.T) {
		o := &outcry{kind: KindWait}
		rt := over(t, newHosts(failing503), noBreaker, WithEndpoints(at("a")...), WithObserver(o.observe))
		for range 10 {
			func() {
				defer func() { _ = recover() }()
				asks(t.Context(), rt, chatJSON)
			}()
		}
		if n := left(rt, 0); o.cries != 10 || n != budgetFloor+2 {
			t.Errorf("%d extra attempts are left after %d panics, want all %d", n, o.cries, budgetFloor+2)
		}
	})
}
