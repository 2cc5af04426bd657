package breakwater

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// Answers that are complete in form but of no use: see StreamPolicy.Repetition, RequireAnswer
// and RequireFormat.

// A said is what an answer says, on whatever wire.
type said struct {
	reasoning, text, tool string
	cut                   bool // at its token limit
}

// flawWires are the wires that such answers come on: the path, what a call asks for there, and
// how an answer is written as JSON and as events.
var flawWires = []struct {
	path, format, object string
	json                 func(said) string
	events               func(said) []string
}{
	{
		"/chat/completions", `"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`, `"response_format":{"type":"json_object"}`,
		func(s said) string {
			return fmt.Sprintf(`{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":%s,"reasoning_content":%s%s},"finish_reason":%q}]}`,
				quoted(s.text), quoted(s.reasoning), ifSet(s.tool, `,"tool_calls":[{"id":"t","function":{"name":"f","arguments":"{}"}}]`), s.reason("stop", "length"))
		},
		func(s said) (events []string) {
			delta := func(name, text string) {
				events = append(events, fmt.Sprintf(`data: {"id":"1","choices":[{"index":0,"delta":{%q:%s},"finish_reason":null}]}`, name, text))
			}
			each(s.reasoning, func(text string) { delta("reasoning_content", quoted(text)) })
			each(s.text, func(text string) { delta("content", quoted(text)) })
			each(s.tool, func(string) { delta("tool_calls", `[{"index":0,"id":"t","function":{"name":"f","arguments":"{}"}}]`) })
			return append(events, fmt.Sprintf(`data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, s.reason("stop", "length")), "data: [DONE]")
		},
	},
	{
		"/responses", `"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}}`, `"text":{"format":{"type":"json_object"}}`,
		func(s said) string { return s.response() },
		func(s said) (events []string) {
			event := func(kind, rest string) {
				events = append(events, fmt.Sprintf("event: %s\ndata: {\"type\":%q,%s}", kind, kind, rest))
			}
			event("response.created", `"response":{"id":"1","status":"in_progress","output":[]}`)
			each(s.reasoning, func(text string) { event("response.reasoning_text.delta", `"delta":`+quoted(text)) })
			each(s.text, func(text string) { event("response.output_text.delta", `"delta":`+quoted(text)) })
			if s.text != "" {
				event("response.output_text.done", `"text":`+quoted(s.text))
			}
			if s.tool != "" {
				event("response.function_call_arguments.delta", `"delta":"{}"`)
				event("response.output_item.done", `"item":{"type":"function_call","name":"f","arguments":"{}"}`)
			}
			event(s.reason("response.completed", "response.incomplete"), `"response":`+s.response())
			return events
		},
	},
	{
		"/v1/messages", `"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}`, "",
		func(s said) string {
			return fmt.Sprintf(`{"id":"1","type":"message","role":"assistant","content":[%s],"stop_reason":%q,"usage":{"input_tokens":1,"output_tokens":1}}`,
				strings.Join(notEmpty(ifSet(s.reasoning, `{"type":"thinking","thinking":`+quoted(s.reasoning)+`,"signature":"s"}`),
					ifSet(s.text, `{"type":"text","text":`+quoted(s.text)+`}`), ifSet(s.tool, `{"type":"tool_use","id":"t","name":"f","input":{}}`)), ","), s.reason("end_turn", "max_tokens"))
		},
		func(s said) (events []string) {
			event := func(kind, rest string) {
				events = append(events, fmt.Sprintf("event: %s\ndata: {\"type\":%q%s}", kind, kind, rest))
			}
			event("message_start", `,"message":{"id":"1","type":"message","role":"assistant","content":[],"usage":{"input_tokens":1}}`)
			if s.reasoning != "" {
				event("content_block_start", `,"index":0,"content_block":{"type":"thinking","thinking":""}`)
			}
			each(s.reasoning, func(text string) {
				event("content_block_delta", `,"index":0,"delta":{"type":"thinking_delta","thinking":`+quoted(text)+`}`)
			})
			if s.reasoning != "" {
				event("content_block_delta", `,"index":0,"delta":{"type":"signature_delta","signature":"s"}`)
			}
			each(s.text, func(text string) {
				event("content_block_delta", `,"index":1,"delta":{"type":"text_delta","text":`+quoted(text)+`}`)
			})
			if s.tool != "" {
				event("content_block_start", `,"index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}`)
			}
			event("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":%q},"usage":{"output_tokens":1}`, s.reason("end_turn", "max_tokens")))
			event("message_stop", "")
			return events
		},
	},
}

func (s said) reason(whole, cut string) string {
	if s.cut {
		return cut
	}
	return whole
}

func (s said) response() string {
	return fmt.Sprintf(`{"id":"1","object":"response","status":%q,"output":[%s]}`, s.reason("completed", "incomplete"),
		strings.Join(notEmpty(ifSet(s.reasoning, `{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":`+quoted(s.reasoning)+`}]}`),
			ifSet(s.text, `{"type":"message","role":"assistant","content":[{"type":"output_text","text":`+quoted(s.text)+`}]}`),
			ifSet(s.tool, `{"type":"function_call","name":"f","arguments":"{}"}`)), ","))
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

func ifSet(cond, then string) string {
	if cond == "" {
		return ""
	}
	return then
}

func notEmpty(texts ...string) (some []string) {
	for _, t := range texts {
		if t != "" {
			some = append(some, t)
		}
	}
	return some
}

// each calls do with the tokens of a text.
func each(text string, do func(string)) {
	for len(text) > 0 {
		n := min(len(text), 6)
		for n < len(text) && text[n]&0xc0 == 0x80 { // within a character
			n++
		}
		do(text[:n])
		text = text[n:]
	}
}

// endless is 40 KiB of one sentence that counts.
var endless = func() string {
	var b strings.Builder
	b.WriteString("Let me see.\n")
	for i := 1; b.Len() < 40<<10; i++ {
		fmt.Fprintf(&b, "%d. I will check the file again, and \"then\" answer.\n", i)
	}
	return b.String()
}()

var checked = StreamPolicy{Repetition: 8 << 10, RequireAnswer: true, RequireFormat: true}

// TestFlaws goes through the flaws of answers, on every wire, as JSON and as a stream.
func TestFlaws(t *testing.T) {
	const isJSON, none = "json", ""
	for _, tt := range []struct {
		name  string
		asks  string // for which format
		said  said
		want  error
		early bool // in a stream, it shows before the first payload
	}{
		{"a good answer", none, said{reasoning: "Hm.", text: "Hello."}, nil, false},
		{"a tool call", none, said{reasoning: "Hm.", tool: "f"}, nil, false},
		{"a tool call for JSON", isJSON, said{tool: "f"}, nil, false},
		{"good JSON", isJSON, said{reasoning: "Hm.", text: ` {"a": [1, "b\n\u00e9"]}` + "\n"}, nil, false},
		{"endless text", none, said{text: endless}, ErrRepetition, false},
		{"endless reasoning", none, said{reasoning: endless, text: "Hello."}, ErrRepetition, false},
		{"endless text that was cut", none, said{text: endless, cut: true}, ErrRepetition, false},
		{"a short repetition", none, said{text: endless[:7<<10]}, nil, false},
		{"reasoning alone", none, said{reasoning: "Hm."}, ErrNoAnswer, false},
		{"reasoning and blanks", none, said{reasoning: "Hm.", text: " \n\n"}, ErrNoAnswer, false},
		{"reasoning that was cut", none, said{reasoning: "Hm.", cut: true}, nil, false},
		{"no JSON", isJSON, said{text: "Sure! {\"a\":1}"}, ErrFormat, true},
		{"no JSON behind reasoning", isJSON, said{reasoning: "Hm.", text: "Sure! {\"a\":1}"}, ErrFormat, false},
		{"JSON between fences", isJSON, said{text: "```json\n{\"a\":1}\n```"}, ErrFormat, true},
		{"JSON and more", isJSON, said{text: `{"a":1} That is it.`}, ErrFormat, false},
		{"half of JSON", isJSON, said{text: `{"a":[1`}, ErrFormat, false},
		{"half of JSON that was cut", isJSON, said{text: `{"a":[1`, cut: true}, nil, false},
		{"text", none, said{text: "Sure! {\"a\":1}"}, nil, false},
	} {
		for _, w := range flawWires {
			body := `{"model":"m","messages":[{"role":"user","content":"q"}]`
			if tt.asks == isJSON {
				body += "," + w.format
			}
			for _, form := range []struct {
				name, kind, body, bad, good string
			}{
				{"JSON", asJSON, body + "}", w.json(tt.said), w.json(said{text: `{"good":true}`})},
				{"stream", asStream, body + `,"stream":true}`, strings.Join(w.events(tt.said), "\n\n") + "\n\n", strings.Join(w.events(said{text: `{"good":true}`}), "\n\n") + "\n\n"},
			} {
				bubble(t, strings.Join([]string{tt.name, w.path[1:], form.name}, "/"), func(t *testing.T) {
					base := newHosts(gives(200, form.kind, form.bad))
					base.Set("b", gives(200, form.kind, form.good))
					for _, backed := range []bool{false, true} {
						early := tt.early || form.kind == asJSON
						check := func(p StreamPolicy) (got seen, trail []Attempt) {
							opts := []Option{once, WithStream(p), WithEndpoints(at("a")...)}
							if backed {
								opts = append(opts, WithBackup(at("b")...))
							}
							var all Trail
							got = asks(WithCall(t.Context(), Call{Trail: &all}), over(t, base, opts...), form.body, toPath(w.path))
							return got, all.Attempts()
						}
						if got, trail := check(StreamPolicy{}); got.err != nil || got.body != form.bad || trail[0].Class != ClassOK {
							t.Errorf("unchecked: %.200v, %+v", got, trail)
						}
						flawIn(t, checked, tt.want, early, backed, form.bad, form.good, check)
						keep := checked
						keep.KeepFlawed = true
						flawIn(t, keep, tt.want, early, backed, form.bad, form.good, check)
					}
				})
			}
		}
	}
}

// flawIn checks what becomes of an answer that is flawed as want says.
func flawIn(t *testing.T, p StreamPolicy, want error, early, backed bool, bad, good string, check func(StreamPolicy) (seen, []Attempt)) {
	t.Helper()
	got, trail := check(p)
	name := fmt.Sprintf("backed %t, kept %t", backed, p.KeepFlawed)
	first := trail[0]
	switch {
	case want == nil, p.KeepFlawed && !(early && backed):
		if got.err != nil || got.status() != 200 || got.body != bad || first.Class != ClassOK || !errors.Is(first.Flaw, want) || len(trail) != 1 {
			t.Errorf("%s: got %.300v, flaw %v, class %s, %d attempts: want the answer, marked %v", name, got, first.Flaw, first.Class, len(trail), want)
		}
	case early && backed:
		if got.err != nil || got.body != good || first.Class != ClassFlawed || !errors.Is(first.Err, want) || first.Verdict != VerdictElsewhere {
			t.Errorf("%s: got %.300v, %+v: want the backup's answer", name, got, trail)
		}
	case early:
		if got.status() != 503 || got.header("Breakwater-Error") != "flawed" || first.Class != ClassFlawed || !errors.Is(ErrorOf(got.resp), want) || !errors.Is(ErrorOf(got.resp), ErrFlawed) {
			t.Errorf("%s: got %.300v, %+v: want an error", name, got, trail)
		}
	default:
		if !errors.Is(got.err, want) || !errors.Is(got.err, ErrFlawed) || got.status() != 200 || !strings.HasPrefix(bad, got.body) || len(got.body) == len(bad) || first.Class != ClassFlawed || !errors.Is(first.Err, want) {
			t.Errorf("%s: got %.100v … %v, %+v: want %v", name, got, got.err, trail, want)
		}
	}
}

func toPath(p string) func(*http.Request) {
	return func(req *http.Request) { req.URL.Path = p }
}

// A stream without payload commits nothing, so the backup may answer in its place.
func TestFlaws_BeforeTheFirstPayload(t *testing.T) {
	const role, stop = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n",
		`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	const usage, done = `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":9,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":9}}}` + "\n\n", "data: [DONE]\n\n"
	const text = `data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}` + "\n\n"
	for name, tt := range map[string]struct {
		events string
		want   Class
	}{
		"nothing":                     {role + stop + usage + done, ClassFlawed},
		"nothing, without terminator": {role + stop, ClassFlawed},
		"a reason, then text":         {stop + text + stop + done, ClassOK},
		"text":                        {role + text + stop + done, ClassOK},
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(gives(200, asStream, tt.events))
			base.Set("b", gives(200, asStream, wholeStream))
			var trail Trail
			got := asks(WithCall(t.Context(), Call{Trail: &trail}), over(t, base, once, WithStream(checked), WithEndpoints(at("a")...), WithBackup(at("b")...)), chatStream)
			want := tt.events
			if tt.want == ClassFlawed {
				want = wholeStream
			}
			if got.err != nil || got.body != want || trail.Attempts()[0].Class != tt.want {
				t.Errorf("got %v, %+v", got, trail.Attempts())
			}
		})
	}
}

// A flawed answer is nobody's fault but the model's: no circuit opens, and nothing pauses. It
// is tried once more at the only host, and never kept.
func TestFlaws_Alone(t *testing.T) {
	const bad = `{"choices":[{"index":0,"message":{"content":"","reasoning_content":"Hm."},"finish_reason":"stop"}]}`
	bubble(t, "again", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, bad))
		rt := over(t, base, WithStream(checked), WithCache(CachePolicy{}))
		for n := range 12 {
			if got := asks(t.Context(), rt, question(n)); got.status() != 503 || got.header("Breakwater-Error") != "flawed" || got.header("X-Should-Retry") != "false" {
				t.Fatalf("got %v, want a 503 that says flawed", got)
			}
		}
		if n := base.Count("a"); n != 24 {
			t.Errorf("%d requests for 12 calls, want 24", n)
		}
		base.Set("a", gives(200, asJSON, goodJSON))
		if got := asks(t.Context(), rt, question(0)); got.status() != 200 || got.body != goodJSON {
			t.Errorf("got %v, want the good answer: nothing is kept and no circuit is open", got)
		}
	})
	bubble(t, "kept", func(t *testing.T) {
		p := checked
		p.KeepFlawed = true
		for _, form := range []struct{ kind, body, bad string }{
			{asJSON, chatJSON, bad},
			{asStream, chatStream, strings.Join(flawWires[0].events(said{reasoning: "Hm."}), "\n\n") + "\n\n"},
		} {
			base := newHosts(gives(200, form.kind, form.bad))
			var events []Event
			rt := over(t, base, WithStream(p), WithCache(CachePolicy{}), WithObserver(func(_ context.Context, e Event) { events = append(events, e) }))
			for range 2 {
				if got := asks(t.Context(), rt, form.body); got.err != nil || got.body != form.bad {
					t.Fatalf("got %v, want the answer", got)
				}
			}
			if n := base.Count("a"); n != 2 {
				t.Errorf("%d requests for 2 calls: a flawed answer was kept", n)
			}
			marked := 0
			for _, e := range events {
				if e.Kind == KindAttempt && errors.Is(e.Flaw, ErrNoAnswer) && e.Class == ClassOK {
					marked++
				}
			}
			if marked != 2 {
				t.Errorf("%d attempts are marked in their events, want 2", marked)
			}
		}
	})
}

// With KeepFlawed, an answer that is flawed is better than none.
func TestFlaws_BetterThanNone(t *testing.T) {
	const bad = `{"choices":[{"index":0,"message":{"content":"Sure!"},"finish_reason":"stop"}]}`
	const asksJSON = `{"model":"m","messages":[],"response_format":{"type":"json_object"}}`
	for _, withErrors := range []bool{false, true} {
		bubble(t, fmt.Sprint(withErrors), func(t *testing.T) {
			base := newHosts(gives(200, asJSON, bad))
			base.Set("b", failing503)
			p := checked
			p.KeepFlawed = true
			opts := []Option{once, WithStream(p), WithEndpoints(at("a")...), WithBackup(at("b")...)}
			if withErrors {
				opts = append(opts, WithErrors())
			}
			var trail Trail
			got := asks(WithCall(t.Context(), Call{Trail: &trail}), over(t, base, opts...), asksJSON)
			if got.err != nil || got.status() != 200 || got.body != bad || got.header("Breakwater-Endpoint") != "a" || base.Count("b") != 1 {
				t.Errorf("got %v, %+v: want the answer of a, after b was asked", got, trail.Attempts())
			}
			if a := trail.Attempts(); a[0].Class != ClassFlawed || !errors.Is(a[0].Err, ErrFormat) || a[1].Class != ClassUnavailable {
				t.Errorf("trail %+v", a)
			}
		})
	}
}

// Schema gets the schema and the text, and its error reaches whoever asks for it.
func TestFlaws_Schema(t *testing.T) {
	own := errors.New("secret text of the answer")
	for _, w := range flawWires {
		for _, streamed := range []bool{false, true} {
			bubble(t, fmt.Sprint(w.path, streamed), func(t *testing.T) {
				p := StreamPolicy{RequireFormat: true, Schema: func(schema, text []byte) error {
					if string(schema) != `{"type":"object"}` || string(text) != `{"a":1}` {
						t.Errorf("Schema got %s and %s", schema, text)
					}
					return own
				}}
				answer := said{text: "\n{\"a\":1} "}
				kind, bad := asJSON, w.json(answer)
				body := `{"model":"m","messages":[],` + w.format + `}`
				if streamed {
					kind, bad = asStream, strings.Join(w.events(answer), "\n\n")+"\n\n"
					body = strings.Replace(body, `"m",`, `"m","stream":true,`, 1)
				}
				var trail Trail
				got := asks(WithCall(t.Context(), Call{Trail: &trail}), over(t, newHosts(gives(200, kind, bad)), once, WithStream(p)), body, toPath(w.path))
				err := trail.Attempts()[0].Err
				if !errors.Is(err, own) || !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "secret") {
					t.Errorf("the attempt ended in %v", err)
				}
				if streamed == (got.err == nil) || strings.Contains(fmt.Sprint(got), "secret") {
					t.Errorf("got %v", got)
				}
			})
		}
	}
}

// A stream that is flawed is not rescued: more of it would be flawed, too. Proxies see an event.
func TestFlaws_AreNotRescued(t *testing.T) {
	for _, rescue := range []Rescue{RescueContinue, RescueRestart, RescueOff} {
		for _, cached := range []bool{false, true} {
			bubble(t, fmt.Sprint(rescue, cached), func(t *testing.T) {
				base := newHosts(gives(200, asStream, strings.Join(flawWires[0].events(said{text: endless}), "\n\n")+"\n\n"))
				p := checked
				p.Rescue, p.ErrorFrames = rescue, true
				opts := []Option{WithStream(p), WithEndpoints(deepSeekAt("a"), deepSeekAt("b"))}
				if cached {
					opts = append(opts, WithCache(CachePolicy{}))
				}
				got := asks(t.Context(), over(t, base, opts...), `{"model":"deepseek-flash","thinking":{"type":"disabled"},"stream":true,"messages":[{"role":"user","content":"q"}]}`)
				if !errors.Is(got.err, ErrRepetition) || base.Count("a")+base.Count("b") != 1 || strings.Count(got.body, `"code":"flawed"`) != 1 {
					t.Errorf("got … %s, %v after %d requests", got.body[max(0, len(got.body)-300):], got.err, base.Count("a")+base.Count("b"))
				}
			})
		}
	}
}

// If the stream of a rescue is flawed, the trail says so.
func TestFlaws_OfARescue(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		base := newHosts(sendsOn(errors.New("reset"), part{0, event("A text that is long enough to be told apart.")}))
		base.Set("b", gives(200, asStream, strings.Join(flawWires[0].events(said{text: endless}), "\n\n")+"\n\n"))
		rt := over(t, base, WithStream(checked), WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")))
		var trail Trail
		got := asks(WithCall(t.Context(), Call{Trail: &trail}), rt, `{"model":"deepseek-flash","thinking":{"type":"disabled"},"stream":true,"messages":[{"role":"user","content":"q"}]}`)
		last := trail.Attempts()[len(trail.Attempts())-1]
		if !errors.Is(got.err, ErrTruncated) || last.Class != ClassFlawed || last.Unrescued != ReasonFlawed {
			t.Errorf("it ended in %v, %+v: want the first error, and a flaw as the reason", got.err, last)
		}
	})
}

// A host that reviews the answer has to end it, even if nothing but its end has come.
func TestFlaws_Reviewed(t *testing.T) {
	for _, p := range []StreamPolicy{{Repetition: 16 << 10}, {RequireAnswer: true}, checked} {
		bubble(t, fmt.Sprintf("%+v", p), func(t *testing.T) {
			base := newHosts(gives(200, asStream, endEvent))
			base.Set("b", gives(200, asStream, wholeStream))
			rt := over(t, base, once, WithStream(p), WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")))
			if got := asks(t.Context(), rt, reviewed); got.body != wholeStream || got.err != nil {
				t.Errorf("got %v, want the backup's answer: the first has no terminator", got)
			}
		})
	}
}

// A stream that is too large to be converted goes on although it is flawed, as any other does.
func TestFlaws_TooLargeToConvert(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		bad := strings.Join(flawWires[0].events(said{text: endless}), "\n\n") + "\n\n"
		base := newHosts(gives(200, asStream, bad))
		base.Set("b", gives(200, asJSON, goodJSON))
		p := StreamPolicy{Repetition: 8 << 10, KeepFlawed: true, MaxBuffer: 2 << 10}
		var trail Trail
		rt := over(t, base, once, WithStream(p), WithEndpoints(at("a")...), WithBackup(at("b")...))
		got := asks(WithCall(t.Context(), Call{Trail: &trail}), rt, chatJSON)
		if got.body != bad || got.err != nil || !errors.Is(trail.Attempts()[0].Flaw, ErrRepetition) {
			t.Errorf("got %d bytes of %d, %v, %+v: want all of it, and a mark", len(got.body), len(bad), got.err, trail.Attempts())
		}
	})
}

// What is not checked: several choices, what fills in nothing, embeddings.
func TestFlaws_Unchecked(t *testing.T) {
	const empty = `{"choices":[{"index":0,"message":{"content":"","reasoning_content":"Hm."},"finish_reason":"stop"}]}`
	for name, tt := range map[string]struct{ path, body, answer string }{
		"several choices": {"/chat/completions", `{"model":"m","messages":[],"n":2}`, empty},
		"nothing to fill": {"/completions", `{"model":"m","prompt":"a"}`, `{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`},
		"embeddings":      {"/embeddings", `{"model":"m","input":"a"}`, `{"data":[{"index":0,"embedding":[0.5]}]}`},
	} {
		bubble(t, name, func(t *testing.T) {
			if got := asks(t.Context(), over(t, newHosts(gives(200, asJSON, tt.answer)), once, WithStream(checked)), tt.body, toPath(tt.path)); got.body != tt.answer {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFlaws_Options(t *testing.T) {
	check := func([]byte, []byte) error { return nil }
	for want, p := range map[string]StreamPolicy{
		"Repetition is 1000: want at least 1024 bytes":    {Repetition: 1000},
		"Repetition is -2: want zero":                     {Repetition: -2},
		"Schema is set, but RequireFormat is not":         {Schema: check, RequireAnswer: true},
		"KeepFlawed is set, but nothing makes an answer":  {KeepFlawed: true},
		"KeepFlawed is set, but nothing makes an answer ": {KeepFlawed: true, Repetition: Off},
	} {
		if _, err := New(WithStream(p)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", p, err, want)
		}
	}
	if _, err := New(WithStream(StreamPolicy{Repetition: 1024, RequireFormat: true, Schema: check, KeepFlawed: true})); err != nil {
		t.Error(err)
	}
}

// A host that sends a stream where JSON was asked for, or JSON where a stream was, is checked
// before the commit.
func TestFlaws_Converted(t *testing.T) {
	answer := said{reasoning: "Hm. So be it."}
	for _, w := range flawWires {
		for _, tt := range []struct{ name, kind, body, bad, good string }{
			{"a stream for JSON", asStream, chatJSON, strings.Join(w.events(answer), "\n\n") + "\n\n", w.json(said{text: "good"})},
			{"JSON for a stream", asJSON, chatStream, w.json(answer), strings.Join(w.events(said{text: "good"}), "\n\n") + "\n\n"},
		} {
			for _, keep := range []bool{false, true} {
				for _, backup := range []string{"", "good", "down"} {
					bubble(t, fmt.Sprint(w.path, tt.name, keep, backup), func(t *testing.T) {
						base := newHosts(gives(200, tt.kind, tt.bad))
						opts := []Option{once, noBreaker}
						switch backup {
						case "good":
							kind := asJSON
							if tt.kind == asJSON {
								kind = asStream
							}
							base.Set("b", gives(200, kind, tt.good))
						case "down":
							base.Set("b", failing503)
						}
						if opts = append(opts, WithEndpoints(at("a")...)); backup != "" {
							opts = append(opts, WithBackup(at("b")...))
						}
						p := checked
						p.KeepFlawed = keep
						var trail Trail
						got := asks(WithCall(t.Context(), Call{Trail: &trail}), over(t, base, append(opts, WithStream(p))...), tt.body, toPath(w.path))
						first := trail.Attempts()[0]
						switch {
						case backup == "good" && (got.body != tt.good || first.Class != ClassFlawed):
							t.Errorf("got %v, %+v: want the backup's answer", got, first)
						case backup != "good" && keep && (got.status() != 200 || !strings.Contains(got.body, "Hm.")):
							t.Errorf("got %v, %+v: want the flawed answer, for there is no better one", got, first)
						case backup == "" && keep && !errors.Is(first.Flaw, ErrNoAnswer):
							t.Errorf("%+v is not marked", first)
						case backup != "good" && !keep && got.status() != 503:
							t.Errorf("got %v, %+v: want an error", got, first)
						}
					})
				}
			}
		}
	}
}

// Callers who share a flawed answer all hear of it, and each gets its own error.
func TestFlaws_Shared(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		bubble(t, fmt.Sprint(streamed), func(t *testing.T) {
			kind, body, bad := asJSON, chatJSON, flawWires[0].json(said{text: endless})
			if streamed {
				kind, body, bad = asStream, chatStream, strings.Join(flawWires[0].events(said{text: endless}), "\n\n")+"\n\n"
			}
			base := newHosts(fakehost.After(time.Second, gives(200, kind, bad)))
			p := checked
			p.ErrorFrames = true
			rt := over(t, base, once, WithStream(p), WithCache(CachePolicy{}))
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					got := asks(t.Context(), rt, body)
					if streamed && (!errors.Is(got.err, ErrRepetition) || strings.Count(got.body, `"code":"flawed"`) != 1) || !streamed && got.header("Breakwater-Error") != "flawed" {
						t.Errorf("got %.200v … %v", got, got.err)
					}
				})
			}
			wg.Wait()
			if n := base.Count("a"); streamed && n != 1 {
				t.Errorf("%d requests for five calls that share", n)
			}
		})
	}
}

// A Schema that panics leaves nothing behind.
func TestFlaws_SchemaPanics(t *testing.T) {
	w := flawWires[0]
	for _, streamed := range []bool{false, true} {
		bubble(t, fmt.Sprint(streamed), func(t *testing.T) {
			kind, bad, body := asJSON, w.json(said{text: "{}"}), `{"model":"m","messages":[],`+w.format+`}`
			if streamed {
				kind, bad, body = asStream, strings.Join(w.events(said{text: "{}"}), "\n\n")+"\n\n", strings.Replace(body, `"m",`, `"m","stream":true,`, 1)
			}
			p := StreamPolicy{RequireFormat: true, Schema: func([]byte, []byte) error { panic("of the user's") }}
			rt := over(t, newHosts(gives(200, kind, bad)), WithStream(p), WithRateLimit(RatePolicy{InFlight: 1}))
			for range 3 {
				func() {
					defer func() {
						if r := recover(); fmt.Sprint(r) != "of the user's" {
							t.Errorf("recovered %v", r)
						}
					}()
					asks(t.Context(), rt, body)
				}()
			}
			if held := stillHeld(rt); held != "" {
				t.Error(held)
			}
		})
	}
}
