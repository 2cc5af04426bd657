package breakwater

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
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
					base.set("a", func(req *http.Request) (*http.Response, error) {
						elapse(tt.usual)
						return whole[tt.of](req)
					})
					for range 20 {
						if got := asks(t.Context(), rt, tt.of); got.header(headerEndpoint) != "a" {
							t.Fatal(got)
						}
					}
				}
				base.set("a", hanging)
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

// The mean and the deviation are those of RFC 6298.
func TestLatency(t *testing.T) {
	var l latency
	if got := l.usual(); got != 0 {
		t.Errorf("usual() = %v before the first sample, want 0", got)
	}
	for _, tt := range []struct{ took, usual time.Duration }{
		{4 * time.Second, 12 * time.Second},          // R, and R/2 four times
		{4 * time.Second, 10 * time.Second},          // the deviation is down to 1.5s
		{12 * time.Second, 17500 * time.Millisecond}, // 5s, and 3.125s four times
		{0, 17500*time.Millisecond - 625*time.Millisecond + 4*468750*time.Microsecond},
	} {
		l.add(tt.took)
		if got := l.usual(); got != tt.usual {
			t.Errorf("usual() = %v after %v, want %v", got, tt.took, tt.usual)
		}
	}
	for range 100 {
		l.add(time.Millisecond)
	}
	if got := l.usual(); got != leastLatency {
		t.Errorf("usual() = %v after many of a millisecond, want %v", got, leastLatency)
	}
}
