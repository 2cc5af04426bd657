package breakwatertest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// prefixed is a chat request whose last message is the prefix; more is further
// fields of its body, with their commas.
func prefixed(prompt, prefix, more string, stream bool) string {
	body, _ := json.Marshal(map[string]any{ // these cannot fail
		"model": model, "stream": stream,
		"messages": []map[string]any{
			{"role": "user", "content": prompt},
			{"role": "assistant", "content": prefix, "prefix": true},
		},
	})
	return strings.TrimSuffix(string(body), "}") + more + "}"
}

// postAt sends a chat request of this body below a root of the host.
func (c *client) postAt(s *bt.Server, root, body string) *http.Response {
	c.t.Helper()
	req, err := bt.ChatRequest(c.t.Context(), s.URL()+root, key, model, "", false)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Body, req.GetBody, req.ContentLength = io.NopCloser(strings.NewReader(body)), nil, int64(len(body))
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// runes are the first n characters of the answer to hello.
func runes(n int) string { return string([]rune(bt.Answer("hello"))[:n]) }

// The client's text and what follows it are the answer, cut where the whole of it
// would be cut.
func TestPrefix(t *testing.T) {
	full := len([]rune(bt.Answer("hello")))
	for _, tt := range []struct {
		name, prefix, more string
		pieces             int // of the twelve
	}{
		{"nothing", "", "", 12},
		{"a part of a piece", runes(1), "", 12},
		{"a piece", runes(full / 12), "", 11},
		{"half", runes(full * 6 / 12), "", 6},
		{"a piece but for its end", runes(full*6/12 - 1), "", 7},
		{"all but the end", runes(full - 1), "", 1},
		{"all", runes(full), "", 0},
		{"told to think", runes(full * 6 / 12), `,"thinking":{"type":"enabled"}`, 6},
		{"with a tool", runes(full * 6 / 12), "," + weather, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *client) {
				s := c.fleet.Server("primary")
				s.SetPace(bt.Pace{PerToken: time.Second})
				for _, stream := range []bool{false, true} {
					start := time.Now()
					got, err := bt.ReadAnswer(c.postAt(s, "/beta", prefixed("hello", tt.prefix, tt.more, stream)))
					if err != nil {
						t.Fatalf("%s: %v", kindOf(stream), err)
					}
					if tt.prefix+got.Content != bt.Answer("hello") || got.Reasoning != "" || got.ToolArguments != "" ||
						got.FinishReason != "stop" || !got.Done {
						t.Errorf("%s: %+v, want the rest behind %q", kindOf(stream), got, tt.prefix)
					}
					u := got.Usage
					if u.PromptTokens == 0 || u.CompletionTokens != tt.pieces || u.TotalTokens != u.PromptTokens+tt.pieces {
						t.Errorf("%s: usage %+v, want %d pieces", kindOf(stream), u, tt.pieces)
					}
					if took, want := time.Since(start), time.Duration(tt.pieces)*time.Second; took != want {
						t.Errorf("%s: took %v, want %v", kindOf(stream), took, want)
					}
					requests := s.Requests()
					if last := requests[len(requests)-1]; last.Prefix != tt.prefix {
						t.Errorf("%s: kept the prefix %q, want %q", kindOf(stream), last.Prefix, tt.prefix)
					}
				}
				const opening, tail = 1, 2 // the role; the finish and [DONE]
				got := events(t, c.postAt(s, "/beta", prefixed("hello", tt.prefix, tt.more, true)))
				if want := opening + tt.pieces + tail; len(got) != want {
					t.Errorf("%d events, want %d: %q", len(got), want, got)
				}
			}, bt.DeepSeek("primary"))
		})
	}
}

// Every choice must begin so.
func TestPrefixOfChoices(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s, common := c.fleet.Server("primary"), runes(5)
	got, err := bt.ReadAnswer(c.postAt(s, "/beta", prefixed("hello", common, `,"n":2`, true)))
	if err != nil || len(got.Choices) != 2 || common+got.Choices[0] != bt.Answer("hello") || common+got.Choices[1] != bt.Choice("hello", 1) {
		t.Errorf("two choices behind %q: %+v, %v", common, got, err)
	}
	_, err = bt.ReadAnswer(c.postAt(s, "/beta", prefixed("hello", bt.Answer("hello"), `,"n":2`, true)))
	if refused := (*bt.StatusError)(nil); !errors.As(err, &refused) || refused.Code != http.StatusBadRequest {
		t.Errorf("two choices behind what only one begins with: %v, want 400", err)
	}
}

// A DeepSeek host wants /beta and a text that begins its answer.
func TestPrefixRefused(t *testing.T) {
	const outside, unfit = "prefix is only available in beta", "cannot be continued"
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	for _, tt := range []struct {
		name, root, prefix, says string
	}{
		{"no root", "", runes(9), outside},
		{"/v1", "/v1", runes(9), outside},
		{"no root, an empty text", "", "", outside},
		{"another text", "/beta", "something else", unfit},
		{"another end", "/beta", runes(9) + "?", unfit},
		{"more than the answer", "/beta", bt.Answer("hello") + " ", unfit},
	} {
		for _, stream := range []bool{false, true} {
			_, err := bt.ReadAnswer(c.postAt(s, tt.root, prefixed("hello", tt.prefix, "", stream)))
			var refused *bt.StatusError
			if !errors.As(err, &refused) || refused.Code != http.StatusBadRequest || !strings.Contains(refused.Body, tt.says) ||
				!strings.Contains(refused.Body, `"type":"invalid_request_error"`) {
				t.Errorf("%s, %s: %v, want 400 and %q", tt.name, kindOf(stream), err, tt.says)
			}
		}
	}
}

// What is no prefix is answered from the beginning, wherever it is sent.
func TestNoPrefix(t *testing.T) {
	const user, begun = `{"role":"user","content":"hello"}`, `{"role":"assistant","content":"hm"`
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	for name, messages := range map[string]string{
		"no such field":     user + "," + begun + "}",
		"false":             user + "," + begun + `,"prefix":false}`,
		"null":              user + "," + begun + `,"prefix":null}`,
		"no boolean":        user + "," + begun + `,"prefix":"true"}`,
		"not the last":      begun + `,"prefix":true},` + user,
		"not the assistant": `{"role":"user","content":"hello","prefix":true}`,
	} {
		for _, root := range []string{"", "/beta"} {
			got, err := bt.ReadAnswer(c.postAt(s, root, `{"model":"m","messages":[`+messages+`]}`))
			if err != nil || got.Content != bt.Answer("hello") || got.Reasoning == "" {
				t.Errorf("%s below %q: %+v, %v", name, root, got, err)
			}
		}
	}
	for _, r := range s.Requests() {
		if r.Prefix != "" {
			t.Errorf("kept the prefix %q of %s", r.Prefix, r.Body)
		}
	}
}

// Only DeepSeek has it; the other personas answer from the beginning.
func TestPrefixOfAllPersonas(t *testing.T) {
	c := tcp(t, bt.Personas()...)
	for _, s := range c.fleet.Servers() {
		if s.Name() == "deepseek" {
			continue
		}
		for _, stream := range []bool{false, true} {
			got, err := bt.ReadAnswer(c.postAt(s, "", prefixed("hello", "something else", "", stream)))
			if err != nil || got.Content != bt.Answer("hello") {
				t.Errorf("%s, %s: %+v, %v", s.Name(), kindOf(stream), got, err)
			}
		}
		if got := s.Requests()[0].Prefix; got != "something else" {
			t.Errorf("%s: kept the prefix %q", s.Name(), got)
		}
	}
}

// The faults of prefixes show on every persona and root, and in nothing else.
func TestPrefixFaults(t *testing.T) {
	type says struct {
		status  int
		content string
	}
	anew := says{200, bt.Answer("hello")}
	for _, tt := range []struct {
		fault bt.Fault
		want  says
	}{
		{bt.PrefixRejected(), says{status: 400}},
		{bt.PrefixIgnored(), anew},
	} {
		for _, at := range []struct {
			host bt.Host
			root string
		}{{bt.DeepSeek("primary"), "/beta"}, {bt.DeepSeek("primary"), ""}, {bt.SiliconFlow("primary"), ""}} {
			t.Run(tt.fault.String()+"/"+at.host.Dialect.String()+at.root, func(t *testing.T) {
				inBubble(t, func(t *testing.T, c *client) {
					s := c.fleet.Server("primary")
					s.Break(tt.fault)
					if !tt.fault.Harmless() || tt.fault.BehindCommit() {
						t.Errorf("harmless %v, behind commit %v", tt.fault.Harmless(), tt.fault.BehindCommit())
					}
					for _, stream := range []bool{false, true} {
						for _, w := range bt.Wires() {
							c.mustAnswerOn(w, s, "no prefix", stream)
						}
						got, err := bt.ReadAnswer(c.postAt(s, at.root, prefixed("hello", runes(9), "", stream)))
						status := 200
						if refused := (*bt.StatusError)(nil); errors.As(err, &refused) {
							status = refused.Code
						} else if err != nil {
							t.Error(err)
						}
						if (says{status, got.Content}) != tt.want {
							t.Errorf("%s: %d %q, want %+v", kindOf(stream), status, got.Content, tt.want)
						}
						requests := s.Requests()
						if last := requests[len(requests)-1]; last.Prefix != runes(9) || last.Fault != tt.fault.Name() {
							t.Errorf("%s: kept the prefix %q and the fault %q", kindOf(stream), last.Prefix, last.Fault)
						}
					}
					s.Heal()
					if at.root == "/beta" {
						got, err := bt.ReadAnswer(c.postAt(s, at.root, prefixed("hello", runes(9), "", true)))
						if err != nil || runes(9)+got.Content != bt.Answer("hello") {
							t.Errorf("healed: %+v, %v", got, err)
						}
					}
				}, at.host)
			})
		}
	}
}
