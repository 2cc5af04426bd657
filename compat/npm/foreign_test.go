package npm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
)

// fixtures are the answers of aimock.
const fixtures = `{"fixtures": [
	{"match": {"userMessage": "tool", "hasToolResult": false}, "response": {"toolCalls": [{"name": "get_weather", "arguments": {"city": "Xi'an"}}]}},
	{"match": {"userMessage": "tool", "hasToolResult": true}, "response": {"content": "It is 21 °C in Xi'an."}},
	{"match": {"userMessage": "weather as JSON"}, "response": {"content": "{\"city\": \"Xi'an\", \"degrees\": 21}"}},
	{"match": {"userMessage": "think"}, "response": {"reasoning": "Let me see: 中文, too.", "content": "I have thought."}},
	{"match": {"userMessage": "nothing like it"}, "response": {"error": {"message": "There is no such thing.", "type": "invalid_request_error"}, "status": 400}},
	{"match": {"inputText": "vectors"}, "response": {"embedding": [0.1, -0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}},
	{"match": {"userMessage": "words"}, "response": {"content": "These are words of a foreign host, in several pieces — 你好, 世界."}}
]}`

// foreign starts aimock, a fake host that is not ours, and returns its URL.
func foreign(t *testing.T) string {
	t.Helper()
	n := needs(t)
	file := filepath.Join(t.TempDir(), "fixtures.json")
	if err := os.WriteFile(file, []byte(fixtures), 0o666); err != nil {
		t.Fatal(err)
	}
	p := start(t, false, nil, n.program, filepath.Join(n.modules, "@copilotkit/aimock/dist/cli.js"), "-p", "0", "-f", file, "--validate-on-load", "--strict")
	for {
		if url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.line(t)); url != "" {
			return url
		}
	}
}

// TestForeign puts the proxy before @copilotkit/aimock. Each client must get from it what it gets from aimock
// itself, on each wire, as JSON and as a stream.
func TestForeign(t *testing.T) {
	for _, under := range clients {
		t.Run(under.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, under.name)
			host := foreign(t)
			through := newProxy(t, fmt.Sprintf("endpoints:\n  - {name: aimock, host: openai, url: %q, key: %s}\n", host+"/v1", hostKey))
			direct := host + "/v1"
			if c.name == "anthropic" {
				direct = host
			}
			plays := []struct{ action, prompt, content, parsed string }{
				{"json", "words", "These are words of a foreign host, in several pieces — 你好, 世界.", ""},
				{"stream", "words", "These are words of a foreign host, in several pieces — 你好, 世界.", ""},
				{"json", "think", "I have thought.", ""},
				{"stream", "think", "I have thought.", ""},
				{"tools", "tool", "", ""},
				{"tools in a stream", "tool", "", ""},
				{"structured", "weather as JSON", "", `{"city":"Xi'an","degrees":21}`},
				{"json", "nothing like it", "", ""},
			}
			if c.name == "openai" {
				plays = append(plays, []struct{ action, prompt, content, parsed string }{
					{"response", "words", "These are words of a foreign host, in several pieces — 你好, 世界.", ""},
					{"response in a stream", "words", "These are words of a foreign host, in several pieces — 你好, 世界.", ""},
					{"tools in a response", "tool", "", ""},
					{"embedding", "vectors", "", ""},
				}...)
			}
			for _, p := range plays {
				t.Run(p.action+", "+p.prompt, func(t *testing.T) {
					one := call{Action: p.action, BaseURL: direct, Key: ownKey, Model: aModel, Prompt: p.prompt}
					d := c.do(t, one)
					one.BaseURL = through.base(c.wire)
					r := c.do(t, one)
					switch {
					case !reflect.DeepEqual(d.all, r.all):
						t.Errorf("direct: %s\nproxied: %s\n%s", text(d.all), text(r.all), through.stderr)
					case (r.Error != nil) != (p.prompt == "nothing like it"):
						t.Errorf("the error: %s", text(r.all))
					case p.content != "" && r.Content != p.content:
						t.Errorf("another answer: %s", text(r.all))
					case p.parsed != "" && !sameJSON(string(r.Parsed), p.parsed):
						t.Errorf("another object: %s", text(r.all))
					case p.prompt == "tool" && (len(r.Tools) != 1 || !sameJSON(r.Tools[0].Arguments, `{"city":"Xi'an"}`)):
						t.Errorf("another call of the tool: %s", text(r.all))
					}
				})
			}
		})
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
