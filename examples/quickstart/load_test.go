package main

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// What a load may not pass over in silence.
func TestLoadTellsOutcomesApart(t *testing.T) {
	fleet, err := kit.NewFleet(kit.DeepSeek("host"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	host := fleet.Server("host")
	client, err := breakwater.NewClient(breakwater.WithEndpoints(breakwater.Endpoint{URL: host.URL(), APIKey: "sk-host"}),
		breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		name  string
		fault kit.Fault
		ph    phase
		want  verdict
	}{
		{"an answer", kit.NoDone(), phase{}, right},
		{"a cut stream", kit.EndStream(4), phase{}, missed},
		{"an error in the dark", kit.Refused(), phase{dark: true}, told},
		{"an error where a host is well", kit.Refused(), phase{}, missed},
		{"another one's answer", kit.Status(200, "text/event-stream",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"), phase{}, wrong},
	} {
		host.Break(tt.fault)
		if o := newLoad(client, host.URL(), "sk-host").ask(t.Context(), tt.ph, tt.name, true); o.verdict != tt.want {
			t.Errorf("%s: verdict %v (%v), want %v", tt.name, o.verdict, o.says, tt.want)
		}
		host.Heal()
	}
}

// The bare client is a fair one: it retries what the SDKs retry.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken int
		fault  kit.Fault
		want   int // status; 0: an error
		sent   int
	}{
		{"all is well", 0, kit.Fault{}, 200, 1},
		{"busy three times", 3, kit.Busy(), 200, 4},
		{"limited once", 1, kit.TooManyRequests("1"), 200, 2},
		{"reset three times", 3, kit.Reset(), 200, 4},
		{"busy four times", 4, kit.Busy(), 503, 4},
		{"reset four times", 4, kit.Reset(), 0, 4},
		{"a wrong key", 1, kit.Unauthorized(), 401, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fleet, err := kit.NewPipeFleet(kit.DeepSeek("host"))
				if err != nil {
					t.Fatal(err)
				}
				defer fleet.Close()
				network, host := fleet.Transport(), fleet.Server("host")
				defer network.CloseIdleConnections()
				host.BreakNext(tt.broken, tt.fault)
				req, err := kit.ChatRequest(t.Context(), host.URL(), "sk-host", model, "hello", false)
				if err != nil {
					t.Fatal(err)
				}
				status := 0
				resp, err := (&http.Client{Transport: retries{network}}).Do(req)
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					status = resp.StatusCode
				}
				if sent := host.Requests(); status != tt.want || len(sent) != tt.sent || slices.ContainsFunc(sent, func(r kit.Request) bool { return len(r.Body) == 0 }) {
					t.Errorf("status %d, %v after %d requests, want %d after %d with their bodies", status, err, len(sent), tt.want, tt.sent)
				}
			})
		})
	}
}

// The exit status says what breakwater did, and not what the bare client did.
func TestJudge(t *testing.T) {
	failure := []error{errors.New("failure")}
	for _, tt := range []struct {
		name                 string
		bare, oneHost, guard *tally
		fails                bool
	}{
		{"all is well", &tally{ok: 1}, &tally{ok: 1}, &tally{ok: 1}, false},
		{"the bare client fails", &tally{wrong: failure, missed: failure}, &tally{ok: 1}, &tally{ok: 1}, false},
		{"no other host could answer", &tally{}, &tally{missed: failure}, &tally{ok: 1, told: 1}, false},
		{"a wrong answer of the only host", &tally{}, &tally{wrong: failure}, &tally{ok: 1}, true},
		{"a wrong answer", &tally{}, &tally{}, &tally{ok: 1, wrong: failure}, true},
		{"a host could have answered", &tally{}, &tally{}, &tally{ok: 1, missed: failure}, true},
		{"nothing was answered", &tally{}, &tally{}, &tally{told: 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := judge([contenders]*tally{tt.bare, tt.oneHost, tt.guard}); (err != nil) != tt.fails {
				t.Errorf("judge = %v, want an error: %v", err, tt.fails)
			}
		})
	}
}
