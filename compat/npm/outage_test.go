package npm

import (
	"fmt"
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// An outage is what is wrong with the first host while a second one is well.
type outage struct {
	name  string
	fault kit.Fault
	// midway reports that a stream breaks when the client already has a part of it. A chat is then
	// continued, by a host that can: the second one is another account of DeepSeek.
	midway bool
}

func outages() []outage {
	return []outage{
		{"refused connections", kit.Refused(), false},
		{"a black hole", kit.BlackHole(), false},
		{"reset connections", kit.Reset(), false},
		{"401", kit.Unauthorized(), false},
		{"402", kit.InsufficientBalance(), false},
		{"429 for a minute", kit.TooManyRequests("60"), false},
		{"500", kit.ServerError(), false},
		{"503", kit.Busy(), false},
		{"a page in place of the API", kit.HTMLInside(), false},
		{"an error within a 200", kit.ErrorInside(), false},
		{"a queue without end", kit.QueueForever(), false},
		{"silence after the headers", kit.Silence(), false},
		{"half of the JSON", kit.CutJSON(), false},
		{"a stream that breaks", kit.CutStream(3), true},
		{"a stream that ends too early", kit.EndStream(3), true},
		{"a stream that stalls", kit.StallStream(3), true},
		{"a stream with an error in it", kit.ErrorFrame(3), true},
	}
}

// outageActions are the calls that are made in each outage.
var outageActions = []string{"json", "stream", "stream without thinking", "tools", "tools in a stream"}

// ends reports whether a call must end in an error, since its stream breaks and cannot be continued.
func (o outage) ends(action string, onMessages bool) bool {
	return o.midway && strings.Contains(action, "stream") && (onMessages || strings.HasPrefix(action, "tools"))
}

// A pair is two hosts, and the proxy in front of them.
type pair struct {
	primary, backup *kit.Server
	*proxy
}

// newPair starts them, with short patience. second is the kind of the second host, and stream is more of that
// section of the configuration.
func newPair(t *testing.T, second string, stream ...string) pair {
	t.Helper()
	primary, backup := kit.DeepSeek("primary"), kit.SiliconFlow("backup")
	if second == "deepseek" {
		backup = kit.DeepSeek("backup")
	}
	primary.Keys, backup.Keys = []string{hostKey}, []string{"sk-backup-30fe1c77"}
	fleet, err := kit.NewFleet(primary, backup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	p := pair{primary: fleet.Server("primary"), backup: fleet.Server("backup")}
	p.proxy = newProxy(t, fmt.Sprintf(`
endpoints:
  - {name: primary, host: deepseek, url: %q, key: %s}
backups:
  - {name: backup, host: %s, url: %q, key: %s}
stream: {%s}
`, p.primary.URL(), hostKey, second, p.backup.URL(), backup.Keys[0],
		strings.Join(append(stream, "first_token: 300ms, thinking: 300ms, queued: 300ms, stall: 300ms"), ", ")))
	return p
}

// TestOutage has the first host fail. The client must get the right answer from the second one, as if nothing
// had happened.
func TestOutage(t *testing.T) {
	for _, under := range clients {
		t.Run(under.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, under.name)
			for _, o := range outages() {
				for _, action := range outageActions {
					t.Run(o.name+", "+action, func(t *testing.T) { o.survives(t, c, action) })
				}
			}
			t.Run("for many calls", func(t *testing.T) { opensCircuit(t, c) })
		})
	}
}

func (o outage) survives(t *testing.T, c *client, action string) {
	second := "siliconflow"
	if o.midway {
		second = "deepseek"
	}
	p := newPair(t, second)
	p.primary.Break(o.fault)
	prompt := "What is " + o.name + "?"
	r := c.do(t, call{Action: action, BaseURL: p.base(c.wire), Key: ownKey, Model: aModel, Prompt: prompt})
	cannot := o.ends(action, c.wire == kit.Messages)
	switch {
	case cannot && r.Error == nil:
		// It must not be half of an answer.
		t.Errorf("a broken stream ends well: %s", text(r.all))
	case cannot:
	case r.Error != nil:
		t.Errorf("an error: %s\n%s", text(r.all), p.stderr)
	case strings.HasPrefix(action, "tools"):
		if len(r.Tools) != 1 || r.Tools[0].Name != "get_weather" || !sameJSON(r.Tools[0].Arguments, kit.ToolArguments(prompt)) {
			t.Errorf("another call of the tool: %s", text(r.all))
		}
	case r.Content != kit.Answer(prompt) || r.Finish == "" || len(r.Usage) < 5:
		t.Errorf("another answer: %s", text(r.all))
	}
}

// opensCircuit makes ten calls while the first host is down. It must get no request for each of them.
func opensCircuit(t *testing.T, c *client) {
	p := newPair(t, "siliconflow")
	p.primary.Break(kit.ServerError())
	for i := range 10 {
		prompt := fmt.Sprintf("What is %d?", i)
		r := c.do(t, call{Action: "stream", BaseURL: p.base(c.wire), Key: ownKey, Model: aModel, Prompt: prompt})
		if r.Error != nil || r.Content != kit.Answer(prompt) {
			t.Errorf("call %d: %s", i, text(r.all))
		}
	}
	if n := len(p.primary.Requests()); n > 5 {
		t.Errorf("the host that is down gets %d requests in 10 calls", n)
	}
	if n := len(p.backup.Requests()); n != 10 {
		t.Errorf("the other host gets %d requests, want 10", n)
	}
}

// TestRestart has every stream of the first host break. On Messages and Responses the answer can only be begun
// again, which a configuration must allow. The client reads on in the same stream.
func TestRestart(t *testing.T) {
	for name, action := range map[string]string{"anthropic": "stream without thinking", "openai": "response in a stream"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, name)
			p := newPair(t, "deepseek", "rescue: restart")
			p.primary.Break(kit.CutStream(3))
			r := c.do(t, call{Action: action, BaseURL: p.base(c.wire), Key: ownKey, Model: aModel, Prompt: "Again?"})
			if r.Error != nil || r.Content != kit.Answer("Again?") || r.Finish == "" {
				t.Errorf("%s\n%s", text(r.all), p.stderr)
			}
			if len(p.primary.Requests()) == 0 {
				t.Error("the host that breaks streams was not asked")
			}
		})
	}
}

// retries are the requests that a host that is down sees of one call, without and with the proxy. Where a client
// does not heed X-Should-Retry, it is the circuit that ends them: six is the most then, if a probe is among them.
var retries = map[string][2]int{"openai": {3, 3}, "anthropic": {3, 3}, "vercel": {3, 6}, "langchain": {3, 6}}

// TestRetries counts the requests that a host sees of one call if it is down and there is no other, with the
// retries that the client has by default; six of LangChain's would take a minute, so it has two.
func TestRetries(t *testing.T) {
	for _, under := range clients {
		t.Run(under.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, under.name)
			p := play{name: "500", action: "json", fault: kit.ServerError()}
			s := p.serve(t)
			direct := p.run(t, c, s, s.WireURL(c.wire), hostKey, true)
			s = p.serve(t)
			proxied := p.run(t, c, s, newProxy(t, fmt.Sprintf("endpoints:\n  - {name: primary, host: deepseek, url: %q, key: %s}\n", s.URL(), hostKey)).base(c.wire), ownKey, true)
			want := retries[c.name]
			if direct.requests != want[0] || proxied.requests > want[1] || under.obeys && proxied.requests != want[1] {
				t.Errorf("%d requests without the proxy and %d with it, want %v", direct.requests, proxied.requests, want)
			}
			if direct.Error == nil || proxied.Error == nil {
				t.Errorf("no error: %s %s", text(direct.all), text(proxied.all))
			}
		})
	}
}

// TestModels asks the proxy which models there are. The host lists none on Messages; the proxy does.
func TestModels(t *testing.T) {
	for _, name := range []string{"openai", "anthropic"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, name)
			p := newPair(t, "siliconflow")
			direct := newClient(t, "openai").do(t, call{Action: "models", BaseURL: p.primary.URL(), Key: hostKey})
			r := c.do(t, call{Action: "models", BaseURL: p.base(c.wire), Key: ownKey})
			if r.Error != nil || len(r.Models) == 0 || len(direct.Models) == 0 {
				t.Fatalf("%s; directly %s", text(r.all), text(direct.all))
			}
			for _, id := range direct.Models {
				if !strings.Contains(" "+strings.Join(r.Models, " ")+" ", " "+id+" ") {
					t.Errorf("the proxy does not list %s: %v", id, r.Models)
				}
			}
		})
	}
}
