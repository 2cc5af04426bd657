package main

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The outage, played in virtual time: run itself fails if a call that could be
// answered was not, or was answered wrongly.
func TestOutage(t *testing.T) { synctest.Test(t, testOutage) }

func testOutage(t *testing.T) {
	var out strings.Builder
	if err := playOutage(t.Context(), &out, ordinary, kit.NewPipeFleet); err != nil {
		t.Errorf("playOutage = %v\n%s", err, out.String())
	}
	for _, ph := range outage {
		if !strings.Contains(out.String(), "\n"+ph.name) {
			t.Errorf("the table has no line for %q:\n%s", ph.name, out.String())
		}
	}
	if !strings.Contains(out.String(), "0 missed, 0 wrong.") {
		t.Errorf("no summary:\n%s", out.String())
	}
}

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
		{"a cut where streams are cut", kit.EndStream(4), phase{cuts: true}, cut},
		{"a cut where none should be", kit.EndStream(4), phase{}, missed},
		{"an error in the dark", kit.Refused(), phase{dark: true}, none},
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

// With a key, the real API is asked: here, a host that behaves like it.
func TestAskDeepSeek(t *testing.T) {
	fleet, err := kit.NewFleet(kit.DeepSeek("deepseek"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	deepseek := breakwater.DeepSeek("sk-live")
	deepseek.URL = fleet.Server("deepseek").URL()
	var out strings.Builder
	if err := askDeepSeek(t.Context(), &out, deepseek); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), kit.Answer(question)); got != 2 {
		t.Errorf("the answer was printed %d times, want plain and streaming:\n%s", got, out.String())
	}
	if strings.Contains(out.String(), "sk-live") || !strings.Contains(out.String(), "attempt 1: ") {
		t.Errorf("want a trail without the key:\n%s", out.String())
	}
	fleet.Server("deepseek").Break(kit.Unauthorized())
	if err := askDeepSeek(t.Context(), &out, deepseek); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("askDeepSeek with a rejected key = %v, want the 401", err)
	}
}
