package npm

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

const (
	hostKey = "sk-host-8d1f6a3b70"
	ownKey  = "sk-of-the-client-51c2"
	aModel  = "deepseek-flash"
)

// clients are those under test. obeys says of each whether its retries heed X-Should-Retry.
var clients = []struct {
	name  string
	obeys bool
	can   []string // actions, beside those that all have
}{
	{"openai", true, []string{"result of a tool", "runs tools", "several choices", "response", "response in a stream", "tools in a response", "completion"}},
	{"anthropic", true, []string{"result of a tool"}},
	{"vercel", false, []string{"runs tools"}},
	{"langchain", false, []string{"result of a tool"}},
}

var common = []string{"json", "stream", "json without thinking", "stream without thinking", "tools", "tools in a stream"}

// A play is one call, made to the host itself and then through the proxy.
type play struct {
	name       string
	action     string
	host       func(string) kit.Host // nil: kit.DeepSeek
	pace       kit.Pace
	fault      kit.Fault
	timeout    int // ms
	abortAfter int
	abort      bool // once the host has the request

	// wrong says what is wrong with results that may differ, for the reason that differs says.
	differs string
	wrong   func(c *client, direct, proxied outcome) string
}

// An outcome is what came of a play.
type outcome struct {
	*result
	requests int // that the host has seen
}

// TestSame makes each call twice. What the client returns must be the same through the proxy as
// from the host itself: the whole answer, each event of a stream, the error; and so must the
// number of requests that the host sees.
func TestSame(t *testing.T) {
	for _, under := range clients {
		t.Run(under.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, under.name)
			var plays []play
			for _, action := range slices.Concat(common, under.can) {
				plays = append(plays, play{name: action, action: action})
			}
			for _, p := range slices.Concat(plays, refused(), left(), deliberate()) {
				t.Run(p.name, func(t *testing.T) { p.compare(t, c, under.obeys) })
			}
		})
	}
}

// refused are calls that the host refuses for a reason that is the caller's, or again and again.
func refused() (plays []play) {
	for _, f := range []kit.Fault{kit.ContextLength(), kit.ContentFilter(), kit.ModelNotFound(), kit.MissingReasoning()} {
		for _, action := range []string{"json", "stream"} {
			plays = append(plays, play{name: "400 " + f.Name() + ", " + action, action: action, fault: f})
		}
	}
	return append(plays,
		play{name: "404", action: "json", host: kit.OpenAI, fault: kit.ModelNotFound()},
		play{name: "429 with Retry-After", action: "json", fault: kit.TooManyRequests("1")},
		play{name: "429 with Retry-After, stream", action: "stream", fault: kit.TooManyRequests("1")},
		play{name: "500", action: "json", fault: kit.ServerError()},
		play{name: "502 of a proxy in front of the host", action: "json", fault: kit.HTMLError(502)},
		play{name: "503", action: "json", fault: kit.Busy()},
		play{name: "503, stream", action: "stream", fault: kit.Busy()},
	)
}

// left are calls whose clients do not wait for the answer. The host must see that.
func left() []play {
	slowly := kit.Pace{PerToken: 20 * time.Millisecond}
	return []play{
		{name: "cancel of a stream", action: "stream", abortAfter: 3, pace: slowly},
		{name: "cancel before an answer", action: "json", abort: true, fault: kit.BlackHole()},
		{name: "cancel before a stream", action: "stream", abort: true, fault: kit.BlackHole()},
		{name: "timeout", action: "json", timeout: 400, fault: kit.BlackHole()},
		// openai and @anthropic-ai/sdk say 1 in X-Stainless-Timeout.
		{name: "timeout of 1.6 s", action: "json", timeout: 1600, fault: kit.BlackHole()},
	}
}

// deliberate are calls whose results differ, and why.
func deliberate() []play {
	status := func(want int, words string) func(*client, outcome, outcome) string {
		return func(_ *client, _, p outcome) string {
			e := p.Error
			if e == nil || e.Status+e.StatusCode != want || !strings.Contains(e.Message, words) {
				return fmt.Sprintf("want an error with %d and %q", want, words)
			}
			return ""
		}
	}
	return []play{
		{
			name: "401", action: "json", fault: kit.Unauthorized(),
			differs: "the host has rejected the key of the proxy, not the client's", wrong: status(502, "rejected the key of this proxy"),
		},
		{
			name: "402", action: "json", fault: kit.InsufficientBalance(),
			differs: "the account of the proxy has no money, not the client's", wrong: status(502, "the account of this proxy has no money"),
		},
		{
			name: "reset connections", action: "json", fault: kit.Reset(),
			differs: "the connection to the proxy is well, so its answer says what failed", wrong: status(503, "no endpoint answered"),
		},
		{
			name: "half of the JSON", action: "json", fault: kit.CutJSON(),
			differs: "half of an answer is not passed on as a 200", wrong: status(502, ""),
		},
		{
			name: "an error within a 200", action: "json", fault: kit.ErrorInside(),
			differs: "an error is not passed on as a 200", wrong: status(500, "Internal server error"),
		},
		{
			name: "cancel before the first token", action: "stream", abort: true, fault: kit.Silence(),
			differs: "an answer begins with its first token, since another host may yet have to give it",
			wrong: func(_ *client, _, p outcome) string {
				if p.Error == nil && !p.Aborted || p.Pieces > 0 || p.requests != 1 {
					return "want nothing, of one request"
				}
				return ""
			},
		},
		{
			name: "a stream that breaks", action: "stream", fault: kit.CutStream(3),
			differs: "the proxy has the host continue it, and ends it by an error event if it breaks again",
			wrong: func(c *client, d, p outcome) string {
				switch {
				case p.Error == nil:
					return "a broken stream ends well"
				case c.name != "vercel" && !strings.Contains(p.Error.Message+fmt.Sprint(p.all["error"]), "the stream broke off"):
					return "the error does not say that the stream broke off" // ai drops what it has not read when the connection ends
				case p.Pieces < d.Pieces:
					return "less than without the proxy"
				}
				return ""
			},
		},
	}
}

// compare makes the call without and with the proxy.
func (p *play) compare(t *testing.T, c *client, obeys bool) {
	s := p.serve(t)
	direct := p.run(t, c, s, s.WireURL(p.wire(c)), hostKey, obeys)
	s = p.serve(t)
	kind := "deepseek"
	if p.host != nil {
		kind = "openai"
	}
	config := fmt.Sprintf("endpoints:\n  - {name: primary, host: %s, url: %q, key: %s}\n", kind, s.URL(), hostKey)
	through := newProxy(t, config)
	proxied := p.run(t, c, s, through.base(p.wire(c)), ownKey, obeys)
	if t.Failed() {
		return
	}
	for _, r := range s.Requests() {
		if r.Key != hostKey {
			t.Errorf("the host sees another key than the proxy's: %.6s…", r.Key)
		}
	}
	same := reflect.DeepEqual(direct.all, proxied.all)
	switch {
	case p.wrong != nil:
		if wrong := p.wrong(c, direct, proxied); wrong != "" {
			t.Errorf("%s\nproxied: %s\ndirect: %s", wrong, text(proxied.all), text(direct.all))
		}
		return
	case !same:
		t.Errorf("direct: %s\nproxied: %s", text(direct.all), text(proxied.all))
	}
	// The proxy tries again itself, and so do SDKs, which heed it when it says that this is enough.
	want := direct.requests
	if e := direct.Error; !obeys && e != nil && (e.Status+e.StatusCode == 429 || e.Status+e.StatusCode >= 500) {
		want = 3
	}
	if proxied.requests != want {
		t.Errorf("the host sees %d requests, want %d: without the proxy %d", proxied.requests, want, direct.requests)
	}
	p.check(t, direct)
}

// check looks whether the play shows anything.
func (p *play) check(t *testing.T, r outcome) {
	fails := p.fault.Name() != "" || p.abort || p.abortAfter > 0
	switch {
	case fails && r.Error == nil && !r.Aborted:
		t.Errorf("no error: %s", text(r.all))
	case !fails && r.Error != nil:
		t.Errorf("an error: %s", text(r.all))
	case !fails && strings.HasPrefix(p.action, "tools") && (len(r.Tools) != 1 || r.Tools[0].Name != "get_weather" || !json.Valid([]byte(r.Tools[0].Arguments))):
		t.Errorf("no call of the tool: %s", text(r.all))
	case !fails && !strings.HasPrefix(p.action, "tools") && r.Content != kit.Answer(p.prompt()):
		t.Errorf("another answer: %s", text(r.all))
	case p.action == "json" && !fails && r.Reasoning != kit.Reasoning(p.prompt()):
		t.Errorf("another reasoning: %s", text(r.all))
	case !fails && r.Finish == "" && p.action != "runs tools":
		t.Errorf("no reason for its end: %s", text(r.all))
	}
}

func (p *play) prompt() string { return "What is " + p.name + "?" }

// serve starts the host.
func (p *play) serve(t *testing.T) *kit.Server {
	t.Helper()
	persona := kit.DeepSeek
	if p.host != nil {
		persona = p.host
	}
	host := persona("primary")
	host.Pace, host.Keys = p.pace, []string{hostKey}
	fleet, err := kit.NewFleet(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	s := fleet.Server("primary")
	s.Break(p.fault)
	return s
}

func (p *play) wire(c *client) kit.Wire {
	if p.action == "completion" {
		return kit.Completions
	}
	return c.wire
}

// run makes the call. The host must see that the client leaves.
func (p *play) run(t *testing.T, c *client, s *kit.Server, base, key string, obeys bool) outcome {
	t.Helper()
	one := call{Action: p.action, BaseURL: base, Key: key, Model: aModel, Prompt: p.prompt(), Timeout: p.timeout, AbortAfter: p.abortAfter}
	if !obeys {
		one.Retries = new(int) // see TestRetries
	}
	c.send(t, one)
	if p.abort {
		eventually(t, "a request at the host", func() bool { return s.InFlight() > 0 })
		c.send(t, map[string]bool{"abort": true})
	}
	r := c.result(t)
	eventually(t, "the host sees that the client has left", func() bool { return s.InFlight() == 0 })
	return outcome{r, len(s.Requests())}
}

func text(v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.3000s", b)
}
