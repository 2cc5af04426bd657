package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/slo"
)

// playInBubble plays a script in virtual time.
func playInBubble(t *testing.T, s *Script, clients ...string) (r *Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		r, err = Play(t.Context(), s, Plan{
			Clients: clients, Seed: 1, Place: "fake hosts",
			Stage: func(string) (Stage, error) { return Embedded(s, 1, kit.NewPipeFleet) },
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// parsed reads a script that has no mistakes.
func parsed(t *testing.T, text string) *Script {
	t.Helper()
	s, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const twoHosts = `
duration: 20s
hosts:
  - {name: primary, first_token: 200ms, per_token: 10ms}
  - {name: backup, backup: true, first_token: 200ms, per_token: 10ms}
load: {calls_per_second: 20, deadline: 4s}
breakwater:
  stream: {first_token: 1s, queued: 1s, stall: 1s}
  retry: {patience: off}
objectives: {availability: 99.95%}
`

// TestPlay_Faults plays each fault of the vocabulary: for all requests, and for half of them.
// breakwater answers all calls, with both forms. It is seen that chaos and the hosts of the fleet
// mean the same by each name.
func TestPlay_Faults(t *testing.T) {
	args := map[string]string{
		"latency": "delay: 3s", "slow": "first_token: 3s", "bandwidth": "bytes_per_second: 20", "status": "status: 502",
		"dial_timeout": "delay: 2s",
	}
	for name := range knownFaults() {
		for _, probability := range []string{"100%", "50%"} {
			if testing.Short() && probability == "50%" {
				continue
			}
			t.Run(name+" "+probability, func(t *testing.T) {
				act := "fault: " + name + ", probability: " + probability
				if args[name] != "" {
					act += ", " + args[name]
				}
				s := parsed(t, strings.Replace(twoHosts, "calls_per_second: 20", "calls_per_second: 10", 1)+"timeline:\n  - {at: 5s, for: 6s, host: primary, "+act+"}\n")
				r := playInBubble(t, s, WithBreakwater, BareClient)
				ours, bare := r.Clients[0], r.Clients[1]
				switch name {
				case "content_filter", "context_length": // it concerns the call, and the backup is no better, so the caller gets it
					if ours.Failed == 0 {
						t.Errorf("nobody was told of it: %+v", ours)
					}
				case "bandwidth": // an answer that is only slow is not given up
				default:
					if ours.Answered != ours.Calls {
						t.Errorf("%d of %d calls answered: %v", ours.Answered, ours.Calls, ours.Why)
					}
				}
				for _, second := range bare.Seconds[11:] {
					if second.Failed+second.Wrong > 0 {
						t.Fatalf("the host is well since second 11, and is not in second %d: %+v", second.Second, second)
					}
				}
				late := name == "latency" || name == "slow" // bare callers wait, and get it
				if !late && bare.Answered == bare.Calls || bare.FirstToken.P99 < 0.2 {
					t.Errorf("a bare client felt nothing: %+v", bare)
				}
				if late && bare.FirstToken.P99 < 3 {
					t.Errorf("a bare client waits %v s, want at least 3", bare.FirstToken.P99)
				}
			})
		}
	}
}

// TestPlay_Counts: for the same seed, two plays make the same calls at the same times, and all
// figures of a report fit each other.
func TestPlay_Counts(t *testing.T) {
	s := parsed(t, twoHosts+"timeline:\n  - {at: 5s, for: 6s, host: primary, fault: end_stream}\n")
	r := playInBubble(t, s, WithBreakwater, BareClient)
	again := playInBubble(t, s, BareClient)
	bare := r.Clients[1]
	if bare.Wrong == 0 || bare.Wrong != again.Clients[0].Wrong || bare.Answered != again.Clients[0].Answered {
		t.Errorf("the same seed gave %d wrong, %d answered, and %d, %d", bare.Wrong, bare.Answered, again.Clients[0].Wrong, again.Clients[0].Answered)
	}
	if n := r.Clients[0].Requests; bare.Requests != 400 || n < 400 || n > 500 {
		t.Errorf("%d and %d requests were sent, want a few more than 400, and 400", n, bare.Requests)
	}
	for _, c := range r.Clients {
		sum, by := 0, 0
		for _, second := range c.Seconds {
			sum += second.Answered + second.Failed + second.Wrong
		}
		for _, n := range c.AnsweredBy {
			by += n
		}
		why := 0
		for _, w := range c.Why {
			why += w.Calls
		}
		if c.Calls != 400 || c.Answered+c.Failed+c.Wrong != c.Calls || sum != c.Calls || by != c.Answered || why != c.Failed+c.Wrong || c.Unfinished != 0 {
			t.Errorf("%s: the figures do not fit: %+v", c.Client, c)
		}
	}
}

// TestPlay_AgreesWithSLO: what the callers of breakwater saw is what package slo counts by its events.
func TestPlay_AgreesWithSLO(t *testing.T) {
	s := parsed(t, strings.Replace(twoHosts, "stall: 1s", "stall: 1s, rescue: off", 1)+"timeline:\n  - {at: 5s, for: 6s, host: primary, fault: cut_stream, after: 3}\n")
	tracker, err := slo.New(slo.Objectives{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s.Policies = append(s.Policies, breakwater.WithObserver(tracker.Observe))
		r, err := Play(t.Context(), s, Plan{Clients: []string{WithBreakwater}, Seed: 1, Stage: func(string) (Stage, error) { return Embedded(s, 1, kit.NewPipeFleet) }})
		if err != nil {
			t.Fatal(err)
		}
		c, w := r.Clients[0], tracker.Report().Windows[0]
		if c.Failed == 0 || uint64(c.Answered) != w.Answered || uint64(c.Failed) != w.Failed || c.Wrong != 0 {
			t.Errorf("the drill counts %d answered and %d failed, slo %d and %d", c.Answered, c.Failed, w.Answered, w.Failed)
		}
		if c.Availability != w.Availability() {
			t.Errorf("availability %v, slo says %v", c.Availability, w.Availability())
		}
	})
}

// TestPlay_Wires asks on every wire, as JSON and as streams.
func TestPlay_Wires(t *testing.T) {
	s := parsed(t, strings.Replace(twoHosts, "deadline: 4s", "deadline: 4s, wires: [chat, completions, responses, messages], streams: 50%", 1)+
		"timeline:\n  - {at: 5s, for: 6s, host: primary, fault: busy}\n")
	seen := make(map[string]int)
	synctest.Test(t, func(t *testing.T) {
		stage, err := Embedded(s, 1, kit.NewPipeFleet)
		if err != nil {
			t.Fatal(err)
		}
		fleet := stage.(*embedded).fleet
		r, err := Play(t.Context(), s, Plan{Clients: []string{WithBreakwater}, Seed: 1, Stage: func(string) (Stage, error) { return stage, nil }})
		if err != nil || r.Clients[0].Answered != 400 {
			t.Fatalf("%v, %+v", err, r.Clients[0])
		}
		for _, server := range fleet.Servers() {
			for _, req := range server.Requests() {
				seen[req.Path+map[bool]string{true: " stream", false: " json"}[req.Stream]]++
			}
		}
	})
	for _, path := range []string{"/chat/completions", "/beta/completions", "/responses", "/anthropic/v1/messages"} {
		for _, form := range []string{" stream", " json"} {
			if seen[path+form] < 40 {
				t.Errorf("%s%s: %d requests, want about 50; there were %v", path, form, seen[path+form], seen)
			}
		}
	}
}

// TestPlay_Callers has a fixed number of callers instead of a rate, and questions that come again
// with a cache.
func TestPlay_Callers(t *testing.T) {
	s := parsed(t, strings.Replace(twoHosts, "calls_per_second: 20", "callers: 8, pause: 100ms, repeat: 100%", 1)+
		"timeline:\n  - {at: 5s, for: 6s, host: primary, fault: refused}\n")
	s.Policies = append(s.Policies, breakwaterCache)
	r := playInBubble(t, s, WithBreakwater)
	c := r.Clients[0]
	if c.Answered != c.Calls || c.Calls < 400 || c.AnsweredBy["cache"] < c.Calls-2*usual {
		t.Errorf("%+v", c)
	}
}

// TestPlay_Complaints: the hosts judge the client, and a client that hammers is told of in the reports.
func TestPlay_Complaints(t *testing.T) {
	s := parsed(t, strings.NewReplacer("retry: {patience: off}", "retry: {attempts: 9, budget: 1, patience: 30s, min_delay: off}", "- {name: backup, backup: true, first_token: 200ms, per_token: 10ms}", "").Replace(twoHosts)+
		"timeline:\n  - {at: 5s, for: 6s, host: primary, fault: busy}\n")
	r := playInBubble(t, s, WithBreakwater, BareClient)
	ours := r.Clients[0].Complaints
	if i := slices.IndexFunc(ours, func(c Complaint) bool { return c.Host == "primary" && c.What == string(kit.Hammered) && c.Times > 0 }); i < 0 || len(r.Clients[1].Complaints) > 0 {
		t.Errorf("with nine attempts and no wait: %+v; bare: %+v", ours, r.Clients[1].Complaints)
	}
	var text, md bytes.Buffer
	_, _ = r.WriteText(&text, Style{}), r.WriteMarkdown(&md, "")
	for _, got := range []string{text.String(), md.String()} {
		if !strings.Contains(strings.ToLower(got), "what the hosts say of breakwater") || !strings.Contains(got, "primary: hammered") {
			t.Errorf("a report does not tell of it: %s", got)
		}
	}
}

// TestPlay_Ended ends a drill in the middle: what was played is reported, calls under way count for
// nothing, and it did not hold.
func TestPlay_Ended(t *testing.T) {
	s := parsed(t, twoHosts+"timeline:\n  - {at: 2s, for: 10s, host: primary, fault: refused}\n  - {at: 15s, for: 2s, host: primary, fault: busy}\n")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 6050*time.Millisecond)
		defer cancel()
		r, err := Play(ctx, s, Plan{Clients: []string{WithBreakwater, BareClient}, Seed: 1, Stage: func(string) (Stage, error) { return Embedded(s, 1, kit.NewPipeFleet) }})
		if err != nil {
			t.Fatal(err)
		}
		c := r.Clients[0]
		if !r.Stopped || r.Held || r.Played != 6.05 || len(r.Faults) != 1 || r.Faults[0].For != 4.05 || c.Unfinished == 0 || c.Answered != c.Calls || c.Calls < 100 {
			t.Errorf("%+v", r)
		}
		var text, md bytes.Buffer
		_ = r.WriteText(&text, Style{})
		_ = r.WriteMarkdown(&md, "")
		if !strings.Contains(text.String(), "Ended after 6.05 s of 20.0 s") || !strings.Contains(md.String(), "Ended early.") {
			t.Errorf("%s\n%s", &text, &md)
		}
	})
}

// TestPlay_Loopback plays over real connections, for a moment.
func TestPlay_Loopback(t *testing.T) {
	s := parsed(t, strings.NewReplacer("duration: 20s", "duration: 1500ms", "calls_per_second: 20", "calls_per_second: 40").Replace(twoHosts)+
		"timeline:\n  - {at: 500ms, for: 500ms, host: primary, fault: refused}\n")
	r, err := Play(t.Context(), s, Plan{Clients: []string{WithBreakwater}, Seed: 1, Stage: func(string) (Stage, error) { return Embedded(s, 1, Loopback) }})
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Clients[0]; c.Calls != 60 || c.Wrong != 0 || c.AnsweredBy["backup"] == 0 || c.AnsweredBy["primary"] == 0 {
		t.Errorf("%+v", c)
	}
}

// TestPlay_KeepsSecrets looks for the prompts, answers and keys of a drill in its reports.
func TestPlay_KeepsSecrets(t *testing.T) {
	s := parsed(t, twoHosts+"timeline:\n  - {at: 2s, for: 3s, host: primary, fault: unauthorized}\n  - {at: 8s, for: 3s, host: primary, fault: error_frame}\n")
	r := playInBubble(t, s, WithBreakwater, BareClient)
	var b bytes.Buffer
	for _, write := range []func() error{
		func() error { return r.WriteJSON(&b) }, func() error { return r.WriteMarkdown(&b, "x.svg") },
		func() error { return r.WriteSVG(&b) }, func() error { return r.WriteText(&b, Style{}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	for _, secret := range []string{"sk-drill", "why does it rain", "Question 1", "回答", "xxxx"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("a report has %q", secret)
		}
	}
	var back Report
	b.Reset()
	_ = r.WriteJSON(&b)
	dec := json.NewDecoder(&b)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil || back.Schema != ReportSchema || !slices.Equal(back.Hosts, r.Hosts) {
		t.Errorf("%v, %+v", err, back)
	}
}
