package breakwater

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A circuit learns from a deadline only where the host had the time that the
// model usually takes there: as its latest answers show, or, until there was
// one, as StreamPolicy has it.
func TestCircuit_LearnsFromDeadlinesThatLeftTime(t *testing.T) {
	for _, tt := range []struct {
		name     string
		usual    time.Duration // to the first payload, of 20 answers before; 0: there were none
		of       string        // how these were asked for
		ask      string
		deadline time.Duration
		backed   bool
		open     bool
	}{
		{"nothing known, 10ms", 0, "", chatStream, 10 * time.Millisecond, false, false},
		{"nothing known, less than FirstToken", 0, "", chatStream, 29 * time.Second, false, false},
		{"nothing known, more than FirstToken", 0, "", chatStream, 31 * time.Second, false, true},
		{"nothing known, JSON, less than Thinking", 0, "", chatJSON, 4 * time.Minute, false, false},
		{"nothing known, JSON, more than Thinking", 0, "", chatJSON, 6 * time.Minute, false, true},
		{"nothing known, half of it less than FirstToken", 0, "", chatStream, 50 * time.Second, true, false},
		{"nothing known, half of it more than FirstToken", 0, "", chatStream, 70 * time.Second, true, true},
		{"quick, 10ms", 2 * time.Second, chatStream, chatStream, 10 * time.Millisecond, false, false},
		{"quick, a little less", 2 * time.Second, chatStream, chatStream, 1900 * time.Millisecond, false, false},
		{"quick, a little more", 2 * time.Second, chatStream, chatStream, 2500 * time.Millisecond, false, true},
		{"quick, half of it less", 2 * time.Second, chatStream, chatStream, 3 * time.Second, true, false},
		{"quick, half of it more", 2 * time.Second, chatStream, chatStream, 5 * time.Second, true, true},
		{"quick JSON", 2 * time.Second, chatJSON, chatJSON, 2500 * time.Millisecond, false, true},
		{"slow, 10s", 20 * time.Second, chatJSON, chatJSON, 10 * time.Second, false, false},
		{"quick streams say nothing of JSON", 2 * time.Second, chatStream, chatJSON, 10 * time.Second, false, false},
		{"at once, half a second", time.Millisecond, chatStream, chatStream, 500 * time.Millisecond, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				whole := map[string]handler{chatJSON: gives(200, asJSON, goodJSON), chatStream: gives(200, asStream, wholeStream)}
				base := newHosts(whole[tt.ask])
				opts := []Option{once, WithEndpoints(at("a")...)}
				if tt.backed {
					opts = append(opts, WithBackup(at("b")...))
				}
				rt := over(t, base, opts...)
				if tt.usual > 0 {
					base.Set("a", func(req *http.Request) (*http.Response, error) {
						elapse(tt.usual)
						return whole[tt.of](req)
					})
					for range 20 {
						if got := asks(t.Context(), rt, tt.of); got.header(headerEndpoint) != "a" {
							t.Fatal(got)
						}
					}
				}
				base.Set("a", hanging)
				for range 8 {
					ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
					asks(ctx, rt, tt.ask)
					cancel()
				}
				if open := rt.Status().Endpoints[0].Circuits[0].State != "closed"; open != tt.open {
					t.Errorf("after 8 calls with a deadline of %v each, the circuit is open: %v, want %v", tt.deadline, open, tt.open)
				}
			})
		})
	}
}

// What waits for a connection that the base's own limit keeps from it has asked
// the host for nothing: the circuit of who holds the connection stays closed.
func TestCircuit_WaitingForAConnectionIsNoFailure(t *testing.T) {
	for _, backed := range []bool{false, true} {
		t.Run(fmt.Sprintf("backed %v", backed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fleet, err := kit.NewPipeFleet(fleetOf()...)
				if err != nil {
					t.Fatal(err)
				}
				defer fleet.Close()
				base := fleet.Transport()
				base.MaxConnsPerHost = 1
				defer base.CloseIdleConnections()
				w := &world{t: t, fleet: fleet, start: time.Now()}
				names := "primary"
				if backed {
					names += " backup"
				}
				rt, err := New(append(w.endpoints(names), steady(), once, WithBase(base))...)
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close()
				ask := func(d time.Duration) (*http.Response, error) {
					ctx, cancel := context.WithTimeout(t.Context(), d)
					t.Cleanup(cancel)
					req, err := kit.Chat.Request(ctx, fleet.Server("primary").WireURL(kit.Chat), "sk-caller", testModel, "q", true)
					if err != nil {
						t.Fatal(err)
					}
					return rt.RoundTrip(req)
				}
				for range 20 { // it is known how long an answer usually takes
					resp, err := ask(time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					kit.ReadAnswer(resp)
				}
				fleet.Server("primary").Break(kit.StallStream(1))
				holder, err := ask(time.Hour) // keeps the one connection
				if err != nil {
					t.Fatal(err)
				}
				asked := len(fleet.Server("primary").Requests())
				for range 8 {
					if resp, err := ask(20 * time.Second); err == nil {
						kit.ReadAnswer(resp)
					}
				}
				if n := len(fleet.Server("primary").Requests()) - asked; n > 0 {
					t.Fatalf("%d requests reached the host: nothing was tested", n)
				}
				if state := rt.Status().Endpoints[0].Circuits[0].State; state != "closed" {
					t.Errorf("the circuit is %s", state)
				}
				holder.Body.Close()
			})
		})
	}
}

// A host that has had longer than any of its answers ever took is dead.
func TestCircuit_LongerThanAnyAnswerTook(t *testing.T) {
	for _, tt := range []struct {
		ask         string
		short, long time.Duration
		deadline    time.Duration
		backed      bool
	}{
		{chatJSON, 2 * time.Second, 18 * time.Second, 30 * time.Second, false},
		{chatJSON, 2 * time.Second, 18 * time.Second, 60 * time.Second, true},
		{chatStream, 500 * time.Millisecond, 4 * time.Second, 5 * time.Second, false},
		{chatStream, 500 * time.Millisecond, 4 * time.Second, 10 * time.Second, true},
	} {
		bubble(t, fmt.Sprintf("%v or %v within %v, backed %v", tt.short, tt.long, tt.deadline, tt.backed), func(t *testing.T) {
			base := newHosts(gives(200, asStream, wholeStream))
			opts := []Option{WithEndpoints(at("a")...)}
			if tt.backed {
				opts = append(opts, WithBackup(at("b")...))
			}
			rt := over(t, base, opts...)
			n := 0
			base.Set("a", func(req *http.Request) (*http.Response, error) {
				if n++; n%2 == 0 {
					elapse(tt.long)
				} else {
					elapse(tt.short)
				}
				if tt.ask == chatJSON {
					return answer(200, asJSON, goodJSON), nil
				}
				return answer(200, asStream, wholeStream), nil
			})
			call := func() {
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				asks(ctx, rt, tt.ask)
			}
			for range 40 {
				call()
			}
			usual := rt.now().tiers[0][0].circuits.Lookup("m").Latency(latencyKind(&request.Params{Stream: tt.ask == chatStream})).Usual()
			base.Set("a", hanging)
			asked := base.Count("a")
			for range 50 {
				call()
			}
			if rt.Status().Endpoints[0].Circuits[0].State == "closed" {
				t.Errorf("%v and %v in turn (usual: %v): after 50 deadlines of %v in a row (backed %v) the circuit is closed, the host asked %d times", tt.short, tt.long, usual, tt.deadline, tt.backed, base.Count("a")-asked)
			}
		})
	}
}

// A dead host that is probed by callers with little time stays shut out: its
// pause grows.
func TestCircuit_ProbesWithShortDeadlines(t *testing.T) {
	for _, deadline := range []time.Duration{50 * time.Second, 20 * time.Second, 0} {
		bubble(t, deadline.String(), func(t *testing.T) {
			base := newHosts(gives(200, asStream, wholeStream))
			base.Set("a", refusing)
			rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...))
			for range 5 {
				asks(t.Context(), rt, chatStream)
			}
			if state := rt.Status().Endpoints[0].Circuits[0].State; state != "open" {
				t.Fatal(state)
			}
			base.Set("a", hanging)
			before := base.Count("a")
			var callers sync.WaitGroup
			var worst atomic.Int64
			for n := range 3600 { // a call a second, for an hour
				callers.Go(func() {
					elapse(time.Duration(n) * time.Second)
					ctx := t.Context()
					if deadline > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, deadline)
						defer cancel()
					}
					start := time.Now()
					asks(ctx, rt, chatStream)
					if time.Since(start) > 10*time.Second {
						worst.Add(1)
					}
				})
			}
			callers.Wait()
			if n := base.Count("a") - before; n > 720 { // one for each 5s of OpenFor
				t.Errorf("deadline %v: in an hour, %d attempts at a dead host whose circuit was open, %d calls took longer than 10s", deadline, n, worst.Load())
			}
		})
	}
}

// Calls that think take longer than those that do not: what is known of the one
// says nothing of the other.
func TestCircuit_ThinkingTakesLonger(t *testing.T) {
	for _, stream := range []bool{false, true} {
		bubble(t, fmt.Sprint("stream ", stream), func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				body := req.Header.Get("X-Thinks")
				d := time.Second
				if body != "" {
					d = 40 * time.Second
				}
				if err := sleep(req.Context(), d); err != nil {
					return nil, err
				}
				if stream {
					return answer(200, asStream, wholeStream), nil
				}
				return answer(200, asJSON, goodJSON), nil
			})
			rt := over(t, base, WithEndpoints(deepSeekAt("a")))
			plain := chatJSON
			if stream {
				plain = chatStream
			}
			thinks := strings.Replace(plain, `"model":"m"`, `"model":"m","thinking":{"type":"enabled"}`, 1)
			plain = strings.Replace(plain, `"model":"m"`, `"model":"m","thinking":{"type":"disabled"}`, 1)
			for range 20 {
				if got := asks(t.Context(), rt, plain); got.status() != 200 {
					t.Fatal(got)
				}
			}
			for range 6 {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				asks(ctx, rt, thinks, with("X-Thinks", "1"))
				cancel()
			}
			if c := rt.Status().Endpoints[0].Circuits[0]; c.State != "closed" {
				t.Errorf("the circuit is %s for all, for calls that think for 40s had 20s", c.State)
			}
		})
	}
}

// Those whose deadline a dead host had plenty of time for open its circuit, in
// every form of a deadline.
func TestCircuit_BlackHole(t *testing.T) {
	for name, opts := range map[string][]Option{"plain": nil, "cache": {WithCache(CachePolicy{})}, "limit": {WithRateLimit(RatePolicy{InFlight: 10})}} {
		for _, timeout := range []bool{false, true} {
			bubble(t, fmt.Sprint(name, timeout), func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				rt := over(t, base, append(opts, WithEndpoints(at("a")...))...)
				for n := range 20 {
					asks(t.Context(), rt, question(n))
				}
				base.Set("a", hanging)
				for n := range 6 {
					ctx, client := t.Context(), &http.Client{Transport: rt}
					if timeout {
						client.Timeout = 5 * time.Second
					} else {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
						defer cancel()
					}
					req, _ := post(ctx, "https://a", question(100+n))
					if resp, err := client.Do(req); err == nil {
						resp.Body.Close()
					}
				}
				synctest.Wait()
				if state := rt.Status().Endpoints[0].Circuits[0].State; state == "closed" {
					t.Errorf("the circuit is %s", state)
				}
			})
		}
	}
}
