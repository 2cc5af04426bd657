package drill

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// playBefore plays a script in front of endpoints that are hosts of a fleet. The hosts are well:
// chaos does it all.
func playBefore(t *testing.T, s *Script, clients ...string) (r *Report, requests map[string]int) {
	t.Helper()
	requests = make(map[string]int)
	synctest.Test(t, func(t *testing.T) {
		pace := kit.Pace{FirstToken: 200 * time.Millisecond, PerToken: 10 * time.Millisecond}
		primary, backup := kit.DeepSeek("first"), kit.DeepSeek("second")
		primary.Pace, backup.Pace = pace, pace
		fleet, err := kit.NewPipeFleet(primary, backup)
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		real := Real{Base: fleet.Transport()}
		for _, server := range fleet.Servers() {
			real.Endpoints = append(real.Endpoints, breakwater.Endpoint{Name: server.Name(), URL: server.URL(), APIKey: "key-" + server.Name(), Host: breakwater.HostDeepSeek})
		}
		real.Options = append(s.Policies, breakwater.WithBase(real.Base), breakwater.WithEndpoints(real.Endpoints[0]), breakwater.WithBackup(real.Endpoints[1]))
		before, err := s.Before(real)
		if err != nil {
			t.Fatal(err)
		}
		r, err = Play(t.Context(), before, Plan{Clients: clients, Seed: 1, Stage: func(string) (Stage, error) { return Endpoints(real, s.Load, 1) }})
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range fleet.Servers() {
			requests[server.Name()] = len(server.Requests())
			for _, req := range server.Requests() {
				var asks struct {
					Tokens int `json:"max_tokens"`
				}
				if err := json.Unmarshal(req.Body, &asks); req.Method == http.MethodPost && (err != nil || asks.Tokens < 1 || asks.Tokens > 64) {
					t.Fatalf("a request for %d tokens, %v", asks.Tokens, err)
				}
			}
		}
	})
	return r, requests
}

// TestEndpoints_Shipped plays each script that comes with the command before endpoints. The hosts
// of its timeline are the endpoints by their places.
func TestEndpoints_Shipped(t *testing.T) {
	for _, shipped := range AllShipped() {
		t.Run(shipped.Name, func(t *testing.T) {
			s, err := Parse(shipped.File, shipped.Text)
			if err != nil {
				t.Fatal(err)
			}
			quick := s.Quickly()
			r, requests := playBefore(t, &quick, WithBreakwater, BareClient)
			ours, bare := r.Clients[0], r.Clients[1]
			if ours.Answered != ours.Calls || ours.Wrong > 0 || ours.Calls == 0 {
				t.Errorf("with breakwater: %+v", ours)
			}
			if bare.Held || bare.Answered == bare.Calls && bare.FirstToken.P99 < 2 {
				t.Errorf("a bare client felt nothing: %+v", bare)
			}
			if r.Faults[0].Host != "first" || requests["second"] == 0 {
				t.Errorf("faults %+v, requests %v", r.Faults, requests)
			}
		})
	}
}

// TestEndpoints_OneURL breaks one of two endpoints that differ in their keys alone, as two accounts
// at one host do.
func TestEndpoints_OneURL(t *testing.T) {
	s := parsed(t, twoHosts+"timeline:\n  - {at: 5s, for: 15s, host: primary, fault: overdue}\n")
	synctest.Test(t, func(t *testing.T) {
		fleet, err := kit.NewPipeFleet(kit.DeepSeek("host"))
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		url := fleet.Server("host").URL()
		a := breakwater.Endpoint{Name: "a", URL: url, APIKey: "key-a", Host: breakwater.HostDeepSeek}
		b := breakwater.Endpoint{Name: "b", URL: url, APIKey: "key-b", Host: breakwater.HostDeepSeek}
		real := Real{Base: fleet.Transport(), Endpoints: []breakwater.Endpoint{a, b}}
		real.Options = []breakwater.Option{breakwater.WithBase(real.Base), breakwater.WithEndpoints(a), breakwater.WithBackup(b)}
		before, err := s.Before(real)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Play(t.Context(), before, Plan{Clients: []string{WithBreakwater}, Seed: 1, Stage: func(string) (Stage, error) { return Endpoints(real, s.Load, 1) }})
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Clients[0]; c.Answered != c.Calls || c.AnsweredBy["b"] < 200 || c.AnsweredBy["a"] < 90 {
			t.Errorf("%+v", c)
		}
	})
}

// TestEndpoints_Before: a timeline that names what the configuration does not have is refused.
func TestEndpoints_Before(t *testing.T) {
	s := parsed(t, twoHosts+"timeline:\n  - {at: 5s, for: 6s, host: backup, fault: busy}\n")
	one := Real{Endpoints: []breakwater.Endpoint{{Name: "only", URL: "http://a.test"}}}
	if _, err := s.Before(one); err == nil || !strings.Contains(err.Error(), "breaks the host backup, and the configuration has no endpoint for it: it has only") {
		t.Errorf("Before = %v", err)
	}
	two := Real{Endpoints: []breakwater.Endpoint{{URL: "http://a.test"}, {URL: "http://b.test:80/v1"}}}
	out, err := s.Before(two)
	if err != nil || out.Timeline[0].Host != "b.test:80" || s.Timeline[0].Host != "backup" || len(out.Hosts) != 0 {
		t.Errorf("Before = %+v, %v", out, err)
	}
	s.Load.Callers, s.Load.PerSecond = 3, 0
	if _, err := s.Before(two); err == nil {
		t.Error("nobody knows how many calls it makes, and Before takes it")
	}
}

func TestIsTestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "localhost": true, "primary.localhost": true, "a.test": true, "LOCALHOST.": true, "x.example": true, "y.invalid": true,
		"api.deepseek.com": false, "10.0.0.7": false, "0.0.0.0": false, "notlocalhost": false, "localhost.evil.com": false, "example.com": false, "test.com": false, "": false, "192.168.1.1": false,
	} {
		if got := IsTestHost(host); got != want {
			t.Errorf("IsTestHost(%q) = %v, want %v", host, got, want)
		}
	}
}

// TestEndpoints_Forecast: the cost is that of all calls of all clients, at peak prices.
func TestEndpoints_Forecast(t *testing.T) {
	s := parsed(t, twoHosts)
	s.Load.Prompt, s.Load.MaxTokens = Span{400, 400}, 100
	dear := breakwater.Endpoint{Name: "dear", URL: "https://api.example.com", Price: map[string]breakwater.Price{"": {Input: 1, Output: 2, Peak: "00:00-12:00", PeakFactor: 2, Currency: "CNY"}}}
	unknown := breakwater.Endpoint{Name: "unknown", URL: "https://b.example.com/v1"}
	text := strings.Join(Real{Endpoints: []breakwater.Endpoint{dear, unknown}}.Forecast(s, 2), "\n")
	// 800 calls of 100 tokens each way: 80,000 × 1 + 80,000 × 2 per million, twice at peak.
	for _, want := range []string{"800 calls in 20s, with up to 80000 tokens of prompts and 80000 of answers", "dear: at most 0.4800 CNY", "unknown: the price of deepseek-flash is not known"} {
		if !strings.Contains(text, want) {
			t.Errorf("Forecast = %s, want %q in it", text, want)
		}
	}
	if hosts := (Real{Endpoints: []breakwater.Endpoint{dear, unknown, {URL: "http://localhost:1"}}}).RealHosts(); len(hosts) != 2 {
		t.Errorf("RealHosts = %v", hosts)
	}
}

// TestEndpoints_Wires asks each wire where the host serves it, and refuses one that it does not.
func TestEndpoints_Wires(t *testing.T) {
	for _, tt := range []struct {
		endpoint breakwater.Endpoint
		wire     kit.Wire
		want     string
	}{
		{breakwater.DeepSeek("key"), kit.Chat, "https://api.deepseek.com/chat/completions"},
		{breakwater.DeepSeek("key"), kit.Completions, "https://api.deepseek.com/beta/completions"},
		{breakwater.DeepSeek("key"), kit.Messages, "https://api.deepseek.com/anthropic/v1/messages"},
		{breakwater.Endpoint{URL: "https://a.example/openai?api-version=7", APIKey: "key"}, kit.Responses, "https://a.example/openai/responses?api-version=7"},
	} {
		stage, err := Endpoints(Real{Endpoints: []breakwater.Endpoint{tt.endpoint}}, Load{Wires: []kit.Wire{tt.wire}, MaxTokens: 9}, 1)
		if err != nil {
			t.Fatal(err)
		}
		req, err := stage.Request(t.Context(), "deepseek-flash", question{prompt: "why?", wire: tt.wire})
		if err != nil || req.URL.String() != tt.want || stage.HostOf(req) == "" {
			t.Errorf("%v is asked at %v, %v, want %s", tt.wire, req.URL, err, tt.want)
		}
	}
	_, err := Endpoints(Real{Endpoints: []breakwater.Endpoint{breakwater.SiliconFlow("key")}}, Load{Wires: []kit.Wire{kit.Responses}}, 1)
	if err == nil || !strings.Contains(err.Error(), "the first endpoint, siliconflow, does not serve responses, which the load asks for") {
		t.Errorf("Endpoints = %v", err)
	}
}

// TestEndpoints_NoKey: a key that cannot be had ends the drill before it begins, and the text has
// no secret.
func TestEndpoints_NoKey(t *testing.T) {
	real := Real{Endpoints: []breakwater.Endpoint{{Name: "a", URL: "http://a.test", KeyFunc: func(context.Context, string) (string, error) { return "", errors.New("no such file") }}}}
	if _, err := Endpoints(real, Load{}, 1); err == nil || !strings.Contains(err.Error(), "the key of the endpoint a: no such file") {
		t.Errorf("Endpoints = %v", err)
	}
}
