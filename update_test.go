package breakwater

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/health"
)

// update gives rt other options over the same base, with the chance taken out.
func update(t *testing.T, rt *Transport, opts ...Option) {
	t.Helper()
	if err := rt.Update(append([]Option{steady(), WithBase(rt.now().config.base)}, opts...)...); err != nil {
		t.Fatal(err)
	}
}

// An Update with mistakes returns all of them, and changes nothing.
func TestUpdate_Mistakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a")...), WithRateLimit(RatePolicy{InFlight: 3}))
		asks(t.Context(), rt, chatJSON)
		before := rt.now()
		err := rt.Update(WithEndpoints(Endpoint{URL: "::", APIKey: "sk-secret"}), WithRetry(RetryPolicy{Attempts: -3}), WithRateLimit(RatePolicy{InFlight: 1}), nil)
		if err == nil || rt.now() != before {
			t.Fatalf("the error is %v, and the generation has changed: %v", err, rt.now() != before)
		}
		for _, want := range []string{"URL", "Attempts", "nil Option"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want it to tell of %s", err, want)
			}
		}
		if strings.Contains(err.Error(), "sk-secret") {
			t.Errorf("the error shows a key: %v", err)
		}
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
			t.Errorf("after it: %v", got)
		}
		if l := rt.Status().Endpoints[0].Limits; l[0].MaxInFlight != 3 {
			t.Errorf("the limits are %+v, want them unchanged", l)
		}
	})
}

// What a host has shown or said keeps its effect as long as what it concerns is the same.
func TestUpdate_KeepsWhatIsTheSame(t *testing.T) {
	tiers := func(first, second []Endpoint) []Option {
		return []Option{WithEndpoints(first...), WithBackup(second...)}
	}
	other := func(e Endpoint, edit func(*Endpoint)) []Endpoint { edit(&e); return []Endpoint{e} }
	a, b := at("a"), at("b")
	account := func(e []Endpoint) []Endpoint { e = slices.Clone(e); e[0].Account = "x"; return e }
	newKey := func(e *Endpoint) { e.APIKey = "sk-new" }
	fails := gives(500, asJSON, `{"error":{"message":"broken"}}`)
	says429 := gives(429, asJSON, `{"error":{"message":"slow down"}}`, "Retry-After", "60")
	says401 := gives(401, asJSON, `{"error":{"message":"no such key","type":"authentication_error","code":"invalid_api_key"}}`)
	says402 := gives(402, asJSON, `{"error":{"message":"Insufficient Balance"}}`)
	twice := WithBreaker(BreakerPolicy{Consecutive: 2})
	for _, tt := range []struct {
		name          string
		does          handler // what a does before the Update
		before, after []Option
		kept          bool // a is not asked after the Update, because of what it did before
	}{
		{"circuit", fails, tiers(a, b), tiers(a, b), true},
		{"circuit, others added", fails, tiers(a, b), tiers(append(at("c"), a...), b), true},
		{"circuit, as a backup", fails, tiers(a, b), tiers(b, a), true},
		{"circuit, another key", fails, tiers(a, b), tiers(other(a[0], newKey), b), true},
		{"circuit, another policy", fails, append(tiers(a, b), twice), append(tiers(a, b), WithBreaker(BreakerPolicy{Consecutive: 3})), false},
		{"circuit, another name", fails, tiers(a, b), tiers(other(a[0], func(e *Endpoint) { e.Name = "z" }), b), false},
		{"429", says429, tiers(a, b), tiers(append(at("c"), a...), b), true},
		{"429, another limit", says429, tiers(a, b), append(tiers(a, b), WithRateLimit(RatePolicy{InFlight: 5})), true},
		{"429, another key", says429, tiers(a, b), tiers(other(a[0], newKey), b), false},
		{"401", says401, tiers(a, b), append(tiers(a, b), twice), true},
		{"401, another key", says401, tiers(a, b), tiers(other(a[0], newKey), b), false},
		{"401, another header", says401, tiers(a, b), tiers(other(a[0], func(e *Endpoint) { e.Header = http.Header{"Openai-Organization": {"o"}} }), b), false},
		{"402", says402, tiers(account(a), b), tiers(account(a), account(at("c"))), false}, // another key of that account may do
		{"402, the same keys", says402, tiers(account(a), b), tiers(account(a), append(b, at("c")...)), true},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", tt.does)
			rt := over(t, base, append(tt.before, once)...)
			for range 8 {
				asks(t.Context(), rt, chatJSON)
			}
			n := base.Count("a")
			base.Set("a", gives(200, asJSON, goodJSON))
			update(t, rt, append(tt.after, once)...)
			for range 2 {
				if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
					t.Errorf("after the Update: %v", got)
				}
			}
			if kept := base.Count("a") == n; kept != tt.kept {
				t.Errorf("a is left alone: %v, want %v", kept, tt.kept)
			}
		})
	}
}

// What is open counts on when limits change, and who waits goes on by the new ones.
func TestUpdate_Limits(t *testing.T) {
	limited := func(p RatePolicy) []Option { return []Option{WithEndpoints(at("a")...), WithRateLimit(p)} }
	for _, tt := range []struct {
		name       string
		then       []Option
		takes      int // calls that go at once after it, beside the open one
		queuedGoes bool
	}{
		{"the same", limited(RatePolicy{InFlight: 1, MaxWait: time.Minute}), 0, false},
		{"more", limited(RatePolicy{InFlight: 4, MaxWait: time.Minute}), 2, true},
		{"none", limited(RatePolicy{PerSecond: 1e6, Burst: 1000, MaxWait: time.Minute}), 10, true},
		{"off", []Option{WithEndpoints(at("a")...)}, 10, true},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newPiped()
			rt := over(t, base, limited(RatePolicy{InFlight: 1, MaxWait: time.Minute})...)
			first := base.hold(t, rt)
			queued := make(chan *held, 1)
			ctx, cancel := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			wait.Go(func() {
				req, _ := post(ctx, "https://a", chatStream)
				if resp, err := rt.RoundTrip(req); err == nil {
					queued <- &held{<-base.opened, resp, cancel}
				}
			})
			synctest.Wait()
			update(t, rt, tt.then...)
			elapse(time.Millisecond) // a new bucket begins empty
			synctest.Wait()
			if goes := len(queued) == 1; goes != tt.queuedGoes {
				t.Errorf("the call that waited goes: %v, want %v", goes, tt.queuedGoes)
			}
			var opened []*held
			for range tt.takes {
				opened = append(opened, base.hold(t, rt))
			}
			if tt.takes < 10 { // one more has to wait
				short, end := context.WithTimeout(t.Context(), time.Second)
				req, _ := post(short, "https://a", chatStream)
				if resp, err := rt.RoundTrip(req); err == nil && resp.StatusCode == 200 {
					t.Error("one more went than is allowed")
				}
				end()
			}
			cancel()
			wait.Wait()
			for _, h := range append(opened, first) {
				h.leave()
			}
			select {
			case h := <-queued:
				h.leave()
			default:
			}
			synctest.Wait()
			if left := stillHeld(rt); left != "" {
				t.Errorf("still held: %s", left)
			}
		})
	}
}

// The cache keeps its answers under other bounds and lifetimes, but not for another Scope.
func TestUpdate_Cache(t *testing.T) {
	cached := func(p CachePolicy) []Option { return []Option{WithEndpoints(at("a")...), WithCache(p)} }
	byUser := func(req *http.Request) string { return req.Header.Get("User") }
	byTenant := func(req *http.Request) string { return req.Header.Get("Tenant") }
	shared, wrapped := &memoryStore{}, struct{ Store }{mapStore{}}
	for _, tt := range []struct {
		name          string
		before, after CachePolicy
		hit           bool
	}{
		{"the same", CachePolicy{}, CachePolicy{}, true},
		{"a longer TTL", CachePolicy{TTL: time.Second}, CachePolicy{TTL: time.Hour}, true},
		{"a shorter TTL", CachePolicy{}, CachePolicy{TTL: time.Second}, false},
		{"smaller", CachePolicy{}, CachePolicy{MaxBytes: 1 << 16}, true},
		{"the same Scope", CachePolicy{Scope: byUser}, CachePolicy{Scope: byUser}, true},
		{"another Scope", CachePolicy{Scope: byUser}, CachePolicy{Scope: byTenant}, false},
		{"another Scope by the same literal", CachePolicy{Scope: byHeader("User")}, CachePolicy{Scope: byHeader("Tenant")}, false},
		{"a Store that cannot be compared", CachePolicy{Store: wrapped}, CachePolicy{Store: wrapped}, true},
		{"the same Store", CachePolicy{Store: shared, Scope: byUser}, CachePolicy{Store: shared, Scope: byTenant}, true}, // as in another process
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, cached(tt.before)...)
			who := func(req *http.Request) { req.Header.Set("User", "1"); req.Header.Set("Tenant", "1") }
			asks(t.Context(), rt, chatJSON, who)
			synctest.Wait()
			elapse(2 * time.Second)
			update(t, rt, cached(tt.after)...)
			n := base.Count("a")
			asks(t.Context(), rt, chatJSON, who)
			if hit := base.Count("a") == n; hit != tt.hit {
				t.Errorf("the answer is kept: %v, want %v", hit, tt.hit)
			}
			if s := rt.Status(); s.Calls != 2 || s.Cache.Stores == 0 {
				t.Errorf("the counts are %+v, want them to go on", s)
			}
		})
	}
	t.Run("fewer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rt := over(t, newHosts(gives(200, asJSON, goodJSON)), cached(CachePolicy{})...)
			for n := range 10 {
				asks(t.Context(), rt, question(n))
			}
			update(t, rt, cached(CachePolicy{MaxEntries: 3})...)
			if s := rt.Status().Cache; s.Entries != 3 || s.Evictions != 7 {
				t.Errorf("%+v, want three entries", s)
			}
		})
	})
}

func byHeader(name string) func(*http.Request) string {
	return func(req *http.Request) string { return req.Header.Get(name) }
}

// A mapStore is a Store that cannot be compared.
type mapStore map[string][]byte

func (mapStore) Get(context.Context, string) ([]byte, error)              { return nil, nil }
func (mapStore) Set(context.Context, string, []byte, time.Duration) error { return nil }

// Circuits are about hosts as seen through a base.
func TestUpdate_Base(t *testing.T) {
	fails, good := newHosts(gives(500, asJSON, `{"error":{"message":"broken"}}`)), newHosts(gives(200, asJSON, goodJSON))
	for _, tt := range []struct {
		name          string
		before, after http.RoundTripper
		kept          bool
	}{
		{"the same", fails, fails, true},
		{"the same function", RoundTripperFunc(fails.RoundTrip), nil, true},
		{"another", fails, good, false},
		{"another function", RoundTripperFunc(fails.RoundTrip), RoundTripperFunc(good.RoundTrip), false},
		{"the default", fails, newBase(), false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			opts := []Option{WithEndpoints(at("a")...), once}
			rt := over(t, tt.before, opts...)
			for range 10 {
				asks(t.Context(), rt, chatJSON)
			}
			after := tt.after
			if after == nil {
				after = tt.before
			}
			opts = append(opts, steady())
			if _, isOwn := after.(*http.Transport); !isOwn {
				opts = append(opts, WithBase(after))
			}
			if err := rt.Update(opts...); err != nil {
				t.Fatal(err)
			}
			if kept := len(rt.Status().Endpoints[0].Circuits) > 0; kept != tt.kept {
				t.Errorf("the circuits are kept: %v, want %v", kept, tt.kept)
			}
		})
	}
}

// What a host answers to the old key, also later, is no word about the new one.
func TestUpdate_AnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		opts := func(key string) []Option {
			e := at("a")[0]
			e.APIKey = key
			return []Option{WithEndpoints(e), WithProbes(ProbePolicy{Every: time.Hour})}
		}
		rt := over(t, base, opts("sk-old")...)
		call := base.hold(t, rt)
		defer call.leave()
		u := rt.now().tiers[0][0]
		u.health.Note(time.Now(), health.Result{Reachable: health.Yes, Credential: health.No, Funds: health.No}, nil, 0)
		update(t, rt, opts("sk-new")...)
		call.Send("data: [DONE]\n\n")
		call.End()
		call.readAll()
		if !u.hasJustWorked(time.Now()) {
			t.Error("the call with the old key has not shown that it works")
		}
		if rt.now().tiers[0][0].hasJustWorked(time.Now()) {
			t.Error("the new key counts as right, and was never sent")
		}
		if h := rt.Status().Endpoints[0].Health; !h.Checked.IsZero() || h.Reachable != "" || h.Credential != "" || h.Funds != "" {
			t.Errorf("the new key's health is %+v, want nothing known", h)
		}
	})
}

// A call ends as it began: at the old endpoints, with the old key; and what a host says to
// the old key is no word about the new one.
func TestUpdate_CallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		rt := over(t, base, WithEndpoints(at("a")...))
		open := base.hold(t, rt)
		slow := make(chan struct{})
		var keys []string
		base.Set("a", func(req *http.Request) (*http.Response, error) {
			key := req.Header.Get("Authorization")
			keys = append(keys, key)
			if key == "Bearer sk-a" {
				<-slow
				return gives(401, asJSON, `{"error":{"message":"no such key","type":"authentication_error","code":"invalid_api_key"}}`)(req)
			}
			return gives(200, asJSON, goodJSON)(req)
		})
		var late seen
		var wait sync.WaitGroup
		wait.Go(func() { late = asks(t.Context(), rt, chatJSON) })
		synctest.Wait()
		renewed := at("a")
		renewed[0].APIKey = "sk-new"
		update(t, rt, append([]Option{WithBackup(at("b")...)}, WithEndpoints(renewed...))...)
		close(slow)
		wait.Wait()
		if late.status() != 401 {
			t.Errorf("the old call got %v, want the refusal: it knows of no backup", late)
		}
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 || got.header(headerEndpoint) != "a" {
			t.Errorf("the new key got %v", got)
		}
		if want := []string{"Bearer sk-a", "Bearer sk-new"}; !slices.Equal(keys, want) {
			t.Errorf("the keys were %q, want %q", keys, want)
		}
		update(t, rt, WithEndpoints(at("b")...)) // a is gone
		open.Send(endEvent + doneEvent)
		open.End()
		if text, err := io.ReadAll(open.resp.Body); err != nil || !strings.Contains(string(text), "[DONE]") {
			t.Errorf("the stream ended in %q, %v", text, err)
		}
		open.resp.Body.Close()
		if got := rt.Status(); len(got.Endpoints) != 1 || got.Endpoints[0].Name != "b" || got.Calls != 3 {
			t.Errorf("the status is %+v", got)
		}
	})
}

// Callers may have the URL of an endpoint that was removed. Others answer their calls, and what
// was removed gets neither these nor a key.
func TestUpdate_RemovedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(map[string][]string)
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			sent[req.URL.Host] = append(sent[req.URL.Host], req.Method+" "+req.URL.Path+" "+req.Header.Get("Authorization"))
			return gives(200, asJSON, goodJSON)(req)
		})
		mapped := at("a")
		mapped[0].Models = map[string]string{"m": "theirs"}
		rt := over(t, base, WithEndpoints(append(mapped, at("c")...)...))
		for _, opts := range [][]Option{
			{WithEndpoints(at("b")...)},
			{WithEndpoints(at("b")...), WithBackup(at("d")...)},
			{WithEndpoints(Endpoint{Name: "b", URL: "https://b", Models: map[string]string{"m": "ours"}, Keyless: true})},
		} {
			update(t, rt, opts...)
			if got := asks(t.Context(), rt, chatJSON, with("Authorization", "Bearer sk-caller")); got.status() != 200 || got.header(headerEndpoint) != "b" {
				t.Errorf("the call got %v, want b's answer", got)
			}
		}
		if want := []string{"POST /chat/completions Bearer sk-b", "POST /chat/completions Bearer sk-b", "POST /chat/completions "}; !slices.Equal(sent["b"], want) || len(sent) != 1 {
			t.Errorf("the hosts were sent %q, want %q at b", sent, want)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a/models", nil)
		req.Header.Set("Authorization", "Bearer sk-caller")
		if resp, err := rt.RoundTrip(req); err != nil {
			t.Error(err)
		} else {
			resp.Body.Close()
		}
		if want := []string{"GET /models Bearer sk-caller"}; !slices.Equal(sent["a"], want) || rt.Status().Passed != 1 {
			t.Errorf("a was sent %q, want %q, passed on", sent["a"], want)
		}
		update(t, rt, WithEndpoints(at("b")...), WithStrict())
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
			t.Errorf("with WithStrict it got %v", got)
		}
		for n := range 2 * maxFormer { // names of which there are ever more
			update(t, rt, WithEndpoints(at(fmt.Sprint("n", n))...))
		}
		if n := len(rt.now().former); n != maxFormer {
			t.Errorf("%d removed endpoints are remembered, want %d", n, maxFormer)
		}
	})
}

// Observers of now hear of circuits that were there before, and those of a call of its end.
func TestUpdate_Observers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		var old, now []Kind
		var mu sync.Mutex
		into := func(list *[]Kind) Option {
			return WithObserver(func(_ context.Context, e Event) {
				mu.Lock()
				defer mu.Unlock()
				*list = append(*list, e.Kind)
			})
		}
		opts := []Option{WithEndpoints(at("a")...), once, WithBreaker(BreakerPolicy{Consecutive: 2})}
		rt := over(t, base, append(opts, into(&old))...)
		open := base.hold(t, rt)
		update(t, rt, append(opts, into(&now))...)
		base.Set("a", gives(500, asJSON, `{"error":{"message":"broken"}}`))
		for range 2 {
			asks(t.Context(), rt, chatJSON)
		}
		if !slices.Contains(now, KindCircuit) || slices.Contains(old, KindCircuit) {
			t.Errorf("the observers of now heard %v, those before %v: want the circuit told to the first", now, old)
		}
		open.leave()
		open.readAll()
		open.resp.Body.Close()
		synctest.Wait()
		if !slices.Contains(old, KindEnd) {
			t.Errorf("those before heard %v, want the end of their call", old)
		}
	})
}

// Endpoints may come to a Transport that had none, and go again.
func TestUpdate_FromAndToNoEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			keys = append(keys, req.URL.Host+" "+req.Header.Get("Authorization"))
			return gives(500, asJSON, `{"error":{"message":"broken"}}`)(req)
		})
		rt := over(t, base, once)
		mine := with("Authorization", "Bearer sk-mine")
		for range 8 {
			asks(t.Context(), rt, chatJSON, mine)
		}
		update(t, rt, once, WithRetry(RetryPolicy{Attempts: 1, Patience: time.Second}))
		if c := rt.Status().Endpoints[0].Circuits; len(c) != 1 || c[0].State != "open" {
			t.Errorf("the circuit of an origin is %+v, want it open as before", c)
		}
		base.Set("b", failing503)
		update(t, rt, WithEndpoints(at("b")...), WithBackup(Endpoint{Name: "a", URL: "https://a", APIKey: "sk-a"}), once)
		keys = nil
		asks(t.Context(), rt, chatJSON, mine)
		if slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, "sk-mine") }) {
			t.Errorf("the caller's key went to %q", keys)
		}
		update(t, rt, once)
		keys = nil
		asks(t.Context(), rt, chatJSON, mine)
		for _, k := range keys {
			if k != "a Bearer sk-mine" {
				t.Errorf("a request went as %q", k)
			}
		}
	})
}

// Connections stay with their endpoints, under another key and policy, and those of removed
// ones are closed.
func TestUpdate_Connections(t *testing.T) {
	var opened, open atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", asJSON)
		io.WriteString(w, goodJSON)
	}))
	closed := make(chan struct{}, 10)
	server.Config.ConnState = func(_ net.Conn, to http.ConnState) {
		switch to {
		case http.StateNew:
			opened.Add(1)
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	end := Endpoint{Name: "one", URL: server.URL, APIKey: "sk-1"}
	rt, err := New(WithEndpoints(end))
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		req, _ := post(t.Context(), server.URL, chatJSON)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	renewed, renamed, other := end, end, Endpoint{Name: "two", URL: "http://localhost:1", APIKey: "sk-1"}
	renewed.APIKey, renamed.Name = "sk-2", "another"
	ask()
	for _, opts := range [][]Option{
		{WithEndpoints(renewed), WithBackup(other)},
		{WithEndpoints(renamed), WithBreaker(BreakerPolicy{Consecutive: 7})},
		{WithEndpoints(other), WithBackup(end)},
		{WithEndpoints(end)},
	} {
		if err := rt.Update(opts...); err != nil {
			t.Fatal(err)
		}
		ask()
	}
	if opened, open := opened.Load(), open.Load(); opened != 1 || open != 1 {
		t.Errorf("%d connections were opened, and %d are, want the one of the first call", opened, open)
	}
	if err := rt.Update(WithEndpoints(other)); err != nil {
		t.Fatal(err)
	}
	<-closed
	rt.Close()
}

// A connection of breakwater's own base that was in use when Update brought the user's base is
// closed by the next Update and by Close. net/http leaves one of HTTP/2 open that has a stream.
func TestUpdate_ConnectionsGiveWay(t *testing.T) {
	for name, endpoints := range map[string]int{"no endpoint": 0, "two endpoints": 2} {
		for way, end := range map[string]func(*Transport, ...Option){
			"Update": func(rt *Transport, opts ...Option) { rt.Update(opts...) },
			"Close":  func(rt *Transport, _ ...Option) { rt.Close() },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				release, closed := make(chan struct{}), make(chan struct{}, 10)
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					w.Header().Set("Content-Type", asStream)
					io.WriteString(w, goodEvent)
					http.NewResponseController(w).Flush()
					<-release
					io.WriteString(w, strings.TrimPrefix(wholeStream, goodEvent))
				}))
				server.Config.ConnState = func(_ net.Conn, to http.ConnState) {
					if to == http.StateClosed {
						closed <- struct{}{}
					}
				}
				server.EnableHTTP2 = true
				server.StartTLS()
				defer server.Close()
				var opts []Option
				for i := range endpoints {
					opts = append(opts, WithEndpoints(Endpoint{Name: fmt.Sprint(i), URL: server.URL, APIKey: "sk"}))
				}
				rt, err := New(opts...)
				if err != nil {
					t.Fatal(err)
				}
				trusts := server.Client().Transport.(*http.Transport)
				rt.now().config.base.(*http.Transport).TLSClientConfig = trusts.TLSClientConfig
				for _, u := range rt.now().all() {
					u.connections.own.Load().TLSClientConfig = trusts.TLSClientConfig
				}
				req, _ := post(t.Context(), server.URL, chatStream)
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.ProtoMajor != 2 {
					t.Fatalf("got %v, %v", resp, err)
				}
				others := append(slices.Clone(opts), WithBase(trusts))
				if err := rt.Update(others...); err != nil {
					t.Fatal(err)
				}
				close(release)
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				for range 10_000 { // net/http frees a stream a moment after its end
					end(rt, others...)
					select {
					case <-closed:
						rt.Close()
						return
					default:
						runtime.Gosched()
					}
				}
				t.Error("the connection is open yet")
			})
		}
	}
}

var updateLoad = flag.Int("updates", 0, "how many seconds of virtual time TestUpdate_UnderLoad plays at 10,000 calls a second; 0: one at 1,000")

// Under load, with sick hosts, endpoints come, go, and change their tier and key twenty times
// a second: every call is answered rightly or, if a host breaks behind the first token, ends in
// a typed error; every key reaches its own host only; and nothing is left held.
func TestUpdate_UnderLoad(t *testing.T) {
	seconds, perSecond, perRound := 1, ifFull(1000, 400), 20
	if *updateLoad > 0 {
		seconds, perSecond = *updateLoad, 10_000
	}
	synctest.Test(t, func(t *testing.T) {
		names := []string{"well", "one", "two", "three"}
		var hosts []kit.Host
		for _, name := range names {
			hosts = append(hosts, kit.DeepSeek(name))
		}
		fleet, err := kit.NewPipeFleet(hosts...)
		if err != nil {
			t.Fatal(err)
		}
		base := fleet.Transport()
		random := rand.New(rand.NewPCG(1, 2))
		options := func(round int) []Option {
			var tiers [2][]Endpoint
			for i, s := range fleet.Servers() {
				e := Endpoint{Name: s.Name(), URL: s.URL(), APIKey: fmt.Sprintf("sk-%s-%d", s.Name(), round/3), Host: HostDeepSeek}
				tier := random.IntN(3) // 2: it is gone
				if i == 0 {
					tier = min(tier, 1)
				}
				if tier < 2 {
					tiers[tier] = append(tiers[tier], e)
				}
			}
			if len(tiers[0]) == 0 {
				tiers[0], tiers[1] = tiers[1], nil
			}
			opts := []Option{WithEndpoints(tiers[0]...), WithStream(quick), WithRateLimit(RatePolicy{InFlight: 30_000 + round%3})}
			if len(tiers[1]) > 0 {
				opts = append(opts, WithBackup(tiers[1]...))
			}
			if round%4 > 0 {
				opts = append(opts, WithCache(CachePolicy{TTL: time.Duration(1+round%3) * time.Second}))
			}
			return opts
		}
		rt := over(t, base, options(0)...)
		client := &http.Client{Transport: rt}
		generations := []*generation{rt.now()}
		faults := slices.DeleteFunc(lightFaults(), func(f kit.Fault) bool { return aboutTheCall[f.Name()] })
		var calls sync.WaitGroup
		var right, typed atomic.Int64
		every := perSecond / perRound
		for n := range seconds * perSecond {
			if round := n / every; n%every == 0 {
				for i, name := range names[1:] {
					fleet.Server(name).Break(faults[(round+i*11)%len(faults)])
				}
				update(t, rt, options(round)...)
				generations = append(generations, rt.now())
			}
			calls.Go(func() {
				prompt, stream := fmt.Sprintf("question %d", n%(perSecond/2)), n%3 == 0
				req, err := kit.Chat.Request(t.Context(), fleet.Servers()[n%len(names)].WireURL(kit.Chat), "sk-caller", testModel, prompt, stream)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if err == nil {
					var reply kit.Reply
					if reply, err = kit.ReadAnswer(resp); err == nil && reply.Content == kit.Answer(prompt) && reply.FinishReason != "" {
						right.Add(1)
						return
					}
				}
				if stream && (errors.Is(err, ErrTruncated) || errors.Is(err, ErrStalled) || errors.Is(err, ErrBadResponse) || err != nil && strings.Contains(err.Error(), "put an error into its answer")) {
					typed.Add(1)
					return
				}
				t.Errorf("call %d: %v", n, err)
			})
			elapse(time.Second / time.Duration(perSecond))
		}
		calls.Wait()
		rt.Close()
		synctest.Wait()
		t.Logf("%d calls, %d generations: %d answered, %d broke behind the first token", seconds*perSecond, len(generations), right.Load(), typed.Load())
		if typed.Load() > right.Load()/10 {
			t.Errorf("%d were answered, %d broke", right.Load(), typed.Load())
		}
		for _, g := range generations {
			for _, u := range g.all() {
				if in, probes := u.circuits.InUse(); in+probes+int(u.Load.Open()) != 0 {
					t.Fatalf("%s still holds %d attempts, %d probes, %d are open", u.Name, in, probes, u.Load.Open())
				}
			}
		}
		if left := stillHeld(rt); left != "" {
			t.Errorf("still held: %s", left)
		}
		for _, s := range fleet.Servers() {
			if n := s.InFlight(); n != 0 {
				t.Errorf("%s still works on %d answers", s.Name(), n)
			}
			for _, r := range s.Requests() {
				if len(r.Header) > 0 && !strings.HasPrefix(r.Key, "sk-"+s.Name()+"-") {
					t.Errorf("%s was sent the key %s", s.Name(), r.Key)
				}
			}
		}
		base.CloseIdleConnections()
		fleet.Close()
	})
}

// A call that waited for its tenant's turn, and comes to an endpoint after an Update, makes no
// limits there by the old policy for those that come later.
func TestUpdate_LimitsOfCallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := func(p RatePolicy) []Option {
			return []Option{WithEndpoints(at("a")...), WithRateLimit(p), WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 1, MaxWait: time.Minute}})}
		}
		base := newPiped()
		rt := over(t, base, limited(RatePolicy{InFlight: 1, MaxWait: time.Minute})...)
		first := base.hold(t, rt)
		calls(t, rt, strings.ReplaceAll(chatStream, `"m"`, `"other"`))
		update(t, rt, limited(RatePolicy{InFlight: 3, MaxWait: time.Minute})...)
		first.leave()
		(<-base.opened).End()
		synctest.Wait()
		for _, l := range rt.Status().Endpoints[0].Limits {
			if l.MaxInFlight != 3 {
				t.Errorf("%+v, want 3 in flight", l)
			}
		}
		if n := len(rt.Status().Endpoints[0].Limits); n != 2 {
			t.Errorf("%d models have limits, want 2", n)
		}
	})
}

// What a host has taught by refusals outlives the account's absence, but is no word about
// another key.
func TestUpdate_AccountComesBack(t *testing.T) {
	a := at("a")[0]
	rekeyed := a
	rekeyed.APIKey = "sk-other"
	for _, tt := range []struct {
		name string
		back Endpoint
		kept bool
	}{{"the same key", a, true}, {"another key", rekeyed, false}} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(429, asJSON, `{"error":{"message":"Your current concurrency is 6, which exceeds your concurrency limit of 3"}}`))
			limited := WithRateLimit(RatePolicy{InFlight: 10, Adaptive: true})
			rt := over(t, base, WithEndpoints(a), limited, once)
			asks(t.Context(), rt, chatJSON)
			most := func() int { return rt.Status().Endpoints[0].Limits[0].MaxInFlight }
			learned := most()
			if learned >= 10 {
				t.Fatal("nothing was learned")
			}
			update(t, rt, WithEndpoints(at("b")...), limited)
			update(t, rt, WithEndpoints(tt.back), limited)
			if kept := most() == learned; kept != tt.kept {
				t.Errorf("%d may be open, %d had been learned", most(), learned)
			}
		})
	}
}

// A call that begins after an Update shares the answer to the same call of before, but not its
// failure: the new options may help.
func TestUpdate_SharedCalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers handler
		want    string
		key     string // an idempotency key
	}{
		{"answered", gives(200, asJSON, goodJSON), "200, 200, b is asked 0 times", ""},
		{"failed", gives(401, asJSON, `{"error":{"message":"no such key"}}`), "401, 200, b is asked 1 times", ""},
		{"broken", failing503, "503, 200, b is asked 1 times", ""},
		{"answered, by its key", gives(200, asJSON, goodJSON), "200, 200, b is asked 0 times", "k"},
		{"failed, by its key", failing503, "503, 200, b is asked 1 times", "k"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base, begins := newHosts(gives(200, asJSON, goodJSON)), make(chan struct{})
			base.Set("a", func(req *http.Request) (*http.Response, error) {
				<-begins
				return tt.answers(req)
			})
			opts := func(name string) []Option {
				return []Option{WithEndpoints(at(name)...), WithCache(CachePolicy{}), WithIdempotency(IdempotencyPolicy{}), once}
			}
			rt := over(t, base, opts("a")...)
			ask := func() *caller { return calls(t, rt, chatJSON, with("Idempotency-Key", tt.key)) }
			if tt.key == "" {
				ask = func() *caller { return calls(t, rt, chatJSON) }
			}
			before := ask()
			update(t, rt, opts("b")...)
			after := ask()
			close(begins)
			synctest.Wait()
			if got := fmt.Sprintf("%d, %d, b is asked %d times", before.resp.StatusCode, after.resp.StatusCode, base.Count("b")); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// Updates, Close, Status, Ready and CloseIdleConnections from many goroutines at once, while
// calls are queued, hedged, tried again and rescued at hosts that are slow, busy or break their
// streams: every call is answered rightly or ends in its caller's end, a typed error or a
// refusal; every key reaches its own host only; nothing is left held.
func TestUpdate_Attack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet, err := kit.NewPipeFleet(kit.DeepSeek("well"), kit.DeepSeek("slow"), kit.DeepSeek("busy"), kit.DeepSeek("cut"))
		if err != nil {
			t.Fatal(err)
		}
		fleet.Server("slow").Break(kit.QueueForever())
		fleet.Server("busy").Break(kit.Busy())
		fleet.Server("cut").Break(kit.CutStream(3))
		base := fleet.Transport()
		scope := func(req *http.Request) string { return req.Header.Get("Team") }
		options := func(n int) []Option {
			var endpoints []Endpoint
			for i, s := range fleet.Servers() {
				if i > 0 && (n>>i)%2 == 0 { // it is gone
					continue
				}
				e := Endpoint{Name: s.Name(), URL: s.URL(), APIKey: fmt.Sprintf("sk-%s-%d", s.Name(), n%2), Host: HostDeepSeek, Account: s.Name(), Price: pricesOf("api.deepseek.com")}
				if n%5 == 0 {
					e.APIKey, e.KeyFunc = "", func(context.Context, string) (string, error) { return "sk-" + s.Name() + "-f", nil }
				}
				endpoints = append(endpoints, e)
			}
			stream := quick
			stream.Hedge, stream.Rescue = 100*time.Millisecond, RescueContinue
			opts := []Option{steady(), WithBase(base), WithEndpoints(endpoints...), WithStream(stream)}
			for i, o := range []Option{
				WithRateLimit(RatePolicy{InFlight: 5 + n%20, TokensPerMinute: 1000 + 1e6*(n%2), MaxWait: 10 * time.Second}),
				WithCache(CachePolicy{TTL: time.Second, Scope: scope}),
				WithIdempotency(IdempotencyPolicy{Scope: scope}),
				WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 3 + n%10, TokensPerMinute: 1e6, MaxWait: 5 * time.Second}}),
				WithSpend(SpendPolicy{PerDay: 1e9}),
				WithProbes(ProbePolicy{Every: 10 * time.Second}),
				WithBalance(BalancePolicy{Shift: 0.5, Affinity: 4}),
				WithBreaker(BreakerPolicy{Consecutive: 2 + n%4}),
				WithErrors(),
				WithObserver(func(context.Context, Event) {}),
			} {
				if n*7>>i%8%2 == 1 || n%11 == i {
					opts = append(opts, o)
				}
			}
			return opts
		}
		rt, err := New(options(14)...) // all of them, so that URLs of all are meant for the endpoints from now on
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		attack := func(goroutines, times int, every time.Duration, does func(n int)) {
			for g := range goroutines {
				all.Go(func() {
					for i := range times {
						does(g*times + i)
						time.Sleep(every)
					}
				})
			}
		}
		attack(6, 40, 50*time.Millisecond, func(n int) {
			if err := rt.Update(options(n)...); err != nil {
				t.Errorf("Update %d: %v", n, err)
			}
		})
		attack(2, 10, 200*time.Millisecond, func(int) { rt.Close() })
		attack(4, 40, 50*time.Millisecond, func(int) { rt.Status(); rt.Ready(); rt.CloseIdleConnections() })
		var right, failed, left atomic.Int64
		attack(ifFull(60, 30), 10, 100*time.Millisecond, func(n int) {
			// Without a deadline, a call whose other endpoints have refused it would wait in the slow one's queue for ever.
			ctx, cancel := context.WithTimeout(WithCall(t.Context(), Call{Tenant: fmt.Sprint("tenant ", n%5), Priority: Priority(n%3 - 1)}), time.Minute)
			defer cancel()
			if n%7 == 0 {
				time.AfterFunc(time.Duration(n%13)*30*time.Millisecond, cancel)
			}
			prompt := fmt.Sprintf("question %d", n%100)
			req, err := kit.Chat.Request(ctx, fleet.Servers()[n%4].WireURL(kit.Chat), "sk-caller", testModel, prompt, n%2 == 0)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Team", fmt.Sprint(n%2))
			if n%3 == 0 {
				req.Header.Set("Idempotency-Key", fmt.Sprint("key ", n%100, n%2))
			}
			resp, err := rt.RoundTrip(req)
			var reply kit.Reply
			if err == nil {
				reply, err = kit.ReadAnswer(resp)
			}
			_, typed := errors.AsType[*Error](err)
			switch {
			case err == nil && reply.Content == kit.Answer(prompt) && reply.FinishReason != "":
				right.Add(1)
			case ctx.Err() != nil:
				left.Add(1)
			case typed, errors.Is(err, ErrTruncated), errors.Is(err, ErrStalled), resp != nil && resp.StatusCode != 200:
				failed.Add(1)
			default:
				t.Errorf("call %d: %+v, %v", n, reply, err)
			}
		})
		all.Wait()
		synctest.Wait()
		t.Logf("%d were answered, %d failed, %d left", right.Load(), failed.Load(), left.Load())
		if most := right.Load(); most < 5*failed.Load() {
			t.Errorf("%d were answered, %d failed", most, failed.Load())
		}
		rt.Close()
		synctest.Wait()
		if held := stillHeld(rt); held != "" {
			t.Errorf("still held: %s", held)
		}
		for _, s := range fleet.Servers() {
			if n := s.InFlight(); n != 0 {
				t.Errorf("%s still works on %d answers", s.Name(), n)
			}
			for _, r := range s.Requests() {
				if len(r.Header) > 0 && !strings.HasPrefix(r.Key, "sk-"+s.Name()+"-") {
					t.Errorf("%s was sent the key %s", s.Name(), r.Key)
				}
			}
		}
		fleet.Close()
	})
}
