package breakwater

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/resume"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// named is an event of Messages or Responses.
func named(format string, args ...any) string {
	data := fmt.Sprintf(format, args...)
	return "event: " + gjson.Get(data, "type").Str + "\ndata: " + data + "\n\n"
}

// A telling is how one attempt tells an answer on Messages or Responses.
type telling struct {
	id              string // of this attempt, in all its ids
	reasoning, text string
	piece           func(rest int) int // how many characters the next piece has
	quote           func(string) string
	tool            bool // a tool call follows
	first           int  // the number of the first event, and the place of the first part
}

func plainQuote(s string) string { b, _ := json.Marshal(s); return string(b) }

// pieces calls do with each piece of a text, quoted.
func (a telling) pieces(text string, do func(quoted string)) {
	for runes := []rune(text); len(runes) > 0; {
		n := a.piece(len(runes))
		do(a.quote(string(runes[:n])))
		runes = runes[n:]
	}
}

// message tells it as Messages do.
func (a telling) message() string {
	var b strings.Builder
	say := func(format string, args ...any) { b.WriteString(named(format, args...)) }
	say(`{"type":"message_start","message":{"id":"msg_%s","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":7,"output_tokens":1}}}`, a.id)
	at := a.first
	if a.reasoning != "" {
		say(`{"type":"content_block_start","index":%d,"content_block":{"type":"thinking","thinking":"","signature":""}}`, at)
		say(`{"type":"ping"}`)
		a.pieces(a.reasoning, func(s string) {
			say(`{"type":"content_block_delta","index":%d,"delta":{"type":"thinking_delta","thinking":%s}}`, at, s)
		})
		say(`{"type":"content_block_delta","index":%d,"delta":{"type":"signature_delta","signature":"sig_%s"}}`, at, a.id)
		say(`{"type":"content_block_stop","index":%d}`, at)
		at++
	}
	say(`{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}`, at)
	a.pieces(a.text, func(s string) {
		say(`{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%s}}`, at, s)
	})
	say(`{"type":"content_block_stop","index":%d}`, at)
	reason := "end_turn"
	if a.tool {
		reason = "tool_use"
		at++
		say(`{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","id":"tool_%s","name":"f","input":{}}}`, at, a.id)
		say(`{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":"{}"}}`, at)
		say(`{"type":"content_block_stop","index":%d}`, at)
	}
	say(`{"type":"message_delta","delta":{"stop_reason":"%s","stop_sequence":null},"usage":{"output_tokens":5}}`, reason)
	say(`{"type":"message_stop"}`)
	return b.String()
}

// response tells it as Responses do.
func (a telling) response() string {
	var b strings.Builder
	n := a.first
	say := func(kind, format string, args ...any) {
		b.WriteString(named(`{"type":"response.%s","sequence_number":%d%s}`, kind, n, fmt.Sprintf(format, args...)))
		n++
	}
	begun := fmt.Sprintf(`,"response":{"id":"resp_%s","status":"in_progress","output":[]}`, a.id)
	say("created", "%s", begun)
	say("in_progress", "%s", begun)
	at, output := a.first, []string{}
	if a.reasoning != "" {
		whole := fmt.Sprintf(`{"id":"rs_%s","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":%s}]}`, a.id, plainQuote(a.reasoning))
		within := fmt.Sprintf(`,"item_id":"rs_%s","output_index":%d,"content_index":0`, a.id, at)
		say("output_item.added", `,"output_index":%d,"item":{"id":"rs_%s","type":"reasoning","summary":[]}`, at, a.id)
		say("content_part.added", `%s,"part":{"type":"reasoning_text","text":""}`, within)
		a.pieces(a.reasoning, func(s string) { say("reasoning_text.delta", `%s,"delta":%s`, within, s) })
		say("reasoning_text.done", `%s,"text":%s`, within, plainQuote(a.reasoning))
		say("content_part.done", `%s,"part":{"type":"reasoning_text","text":%s}`, within, plainQuote(a.reasoning))
		say("output_item.done", `,"output_index":%d,"item":%s`, at, whole)
		output = append(output, whole)
		at++
	}
	whole := fmt.Sprintf(`{"id":"msg_%s","type":"message","role":"assistant","content":[{"type":"output_text","text":%s}]}`, a.id, plainQuote(a.text))
	within := fmt.Sprintf(`,"item_id":"msg_%s","output_index":%d,"content_index":0`, a.id, at)
	say("output_item.added", `,"output_index":%d,"item":{"id":"msg_%s","type":"message","role":"assistant","content":[]}`, at, a.id)
	say("content_part.added", `%s,"part":{"type":"output_text","text":""}`, within)
	a.pieces(a.text, func(s string) { say("output_text.delta", `%s,"delta":%s,"logprobs":[]`, within, s) })
	say("output_text.done", `%s,"text":%s`, within, plainQuote(a.text))
	say("content_part.done", `%s,"part":{"type":"output_text","text":%s}`, within, plainQuote(a.text))
	say("output_item.done", `,"output_index":%d,"item":%s`, at, whole)
	output = append(output, whole)
	if a.tool {
		at++
		whole := fmt.Sprintf(`{"id":"fc_%s","type":"function_call","name":"f","arguments":"{}"}`, a.id)
		say("output_item.added", `,"output_index":%d,"item":{"id":"fc_%s","type":"function_call","name":"f","arguments":""}`, at, a.id)
		say("function_call_arguments.delta", `,"item_id":"fc_%s","output_index":%d,"delta":"{}"`, a.id, at)
		say("function_call_arguments.done", `,"item_id":"fc_%s","output_index":%d,"arguments":"{}"`, a.id, at)
		say("output_item.done", `,"output_index":%d,"item":%s`, at, whole)
		output = append(output, whole)
	}
	say("completed", `,"response":{"id":"resp_%s","status":"completed","output":[%s],"usage":{"input_tokens":7,"output_tokens":5,"total_tokens":12}}`, a.id, strings.Join(output, ","))
	return b.String()
}

// An account is what a strict client makes of a stream.
type account struct {
	reasoning, text string
	tools           int
	finished        bool // by a reason to stop: nothing is missing but the terminator
	ended           bool
	usage           int64 // of the output
}

// strictly reads what a caller has read. It fails the test if a client could stumble over it.
func strictly(t *testing.T, op request.Operation, body string, whole bool) account {
	t.Helper()
	var a account
	r := &strictReader{account: &a, places: map[int64]string{}, ids: map[int64]string{}, last: -1, next: -1}
	for _, block := range strings.Split(body, "\n\n") {
		block = strings.TrimLeft(block, "\n")
		var name, data string
		for line := range strings.SplitSeq(block, "\n") {
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				name = v
			} else if v, ok := strings.CutPrefix(line, "data: "); ok {
				data = v
			}
		}
		problem := ""
		switch event := gjson.Parse(data); {
		case block == "":
			continue
		case data == "" && (!whole || a.finished), name == "error", event.Get("error").Exists():
			continue
		case a.ended:
			problem = "it is behind the end"
		case !json.Valid([]byte(data)):
			if !whole || a.finished { // what follows the end is passed on as it came
				continue
			}
			problem = "it is no JSON"
		case name != event.Get("type").Str:
			problem = "its name is not its type"
		case op == request.Messages:
			problem = r.message(event)
		default:
			problem = r.response(event)
		}
		if problem != "" {
			t.Fatalf("the caller read %q in\n%s\n%s", block, body, problem)
		}
	}
	return a
}

type strictReader struct {
	*account
	begun      bool
	places     map[int64]string // what is at an index; empty: it has ended
	ids        map[int64]string
	id         string
	last, next int64 // number and place
}

func (r *strictReader) message(event gjson.Result) string {
	at := event.Get("index").Int()
	switch kind := event.Get("type").Str; kind {
	case "ping":
	case "message_start":
		if r.begun {
			return "it begins twice"
		}
		r.begun = true
	case "content_block_start":
		if r.next >= 0 && at != r.next+1 {
			return "its index does not follow"
		}
		for _, open := range r.places {
			if open != "" {
				return "another block is open"
			}
		}
		r.next, r.places[at] = at, event.Get("content_block.type").Str
		if r.places[at] == "tool_use" {
			r.tools++
		}
	case "content_block_delta":
		delta := event.Get("delta")
		want := map[string]string{"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking", "input_json_delta": "tool_use"}[delta.Get("type").Str]
		if want == "" || r.places[at] != want {
			return "its block is not open"
		}
		r.text += delta.Get("text").Str
		r.reasoning += delta.Get("thinking").Str
	case "content_block_stop":
		if r.places[at] == "" {
			return "its block is not open"
		}
		r.places[at] = ""
	case "message_delta":
		r.usage, r.finished = event.Get("usage.output_tokens").Int(), event.Get("delta.stop_reason").Str != ""
	case "message_stop":
		for _, open := range r.places {
			if open != "" {
				return "a block is open"
			}
		}
		r.ended = true
	default:
		return "it is of no kind"
	}
	return ""
}

func (r *strictReader) response(event gjson.Result) string {
	n, at := event.Get("sequence_number").Int(), event.Get("output_index").Int()
	if r.last >= 0 && n != r.last+1 {
		return fmt.Sprintf("its number does not follow %d", r.last)
	}
	r.last = n
	if id := event.Get("item_id"); id.Exists() && (r.ids[at] != id.Str || r.places[at] == "") {
		return "it is of no open item"
	}
	if id := event.Get("response.id").Str; id != "" {
		if r.id != "" && r.id != id {
			return "the response has two ids"
		}
		r.id = id
	}
	switch kind := event.Get("type").Str; kind {
	case "response.created", "response.in_progress":
		if n > 2+r.next && r.next >= 0 {
			return "it begins twice"
		}
	case "response.output_item.added":
		if r.next >= 0 && at != r.next+1 {
			return "its index does not follow"
		}
		r.next, r.places[at], r.ids[at] = at, event.Get("item.type").Str, event.Get("item.id").Str
		if r.places[at] == "function_call" {
			r.tools++
		}
	case "response.output_item.done":
		if r.ids[at] != event.Get("item.id").Str || r.places[at] == "" {
			return "it is of no open item"
		}
		r.places[at] = ""
	case "response.output_text.delta":
		r.text += event.Get("delta").Str
	case "response.reasoning_text.delta":
		r.reasoning += event.Get("delta").Str
	case "response.output_text.done":
		if event.Get("text").Str != r.text {
			return "the text is another"
		}
	case "response.completed":
		i := 0
		for _, item := range event.Get("response.output").Array() {
			found := false
			for at, id := range r.ids {
				found = found || id == item.Get("id").Str && r.places[at] == ""
			}
			if !found {
				return "it has an item of no stream"
			}
			i++
		}
		if i != len(r.ids) {
			return "it lacks an item"
		}
		r.usage, r.ended = event.Get("response.usage.output_tokens").Int(), true
		r.finished = true
	}
	return ""
}

// asksWire asks on Messages or Responses.
func asksWire(t *testing.T, rt *Transport, op request.Operation) seen {
	t.Helper()
	path, ask := "/v1/messages", `{"model":"m","stream":true,"max_tokens":1000,"messages":[{"role":"user","content":"q"}]}`
	if op == request.Responses {
		path, ask = "/v1/responses", `{"model":"m","stream":true,"input":"q"}`
	}
	return asks(t.Context(), rt, ask, func(req *http.Request) { req.URL.Path = path })
}

func (a telling) on(op request.Operation) string {
	if op == request.Messages {
		return a.message()
	}
	return a.response()
}

// A stream that is cut at any byte, between events and within them, goes on with another
// attempt's, which has other ids, pieces, escapes and numbers. Its caller reads one answer.
func TestRescue_WiresAtEachCut(t *testing.T) {
	const text = "Hé said: \"größer\"\n— 你好世界, 🙂\\ and so on, a good deal beyond the overlap"
	for _, op := range []request.Operation{request.Messages, request.Responses} {
		for _, reasoning := range []string{"", "hm \"well\" 🙂"} {
			for _, tool := range []bool{false, true} {
				one := telling{"one", reasoning, text, func(n int) int { return min(n, 7) }, plainQuote, tool, 0}
				two := telling{"two", reasoning, text, func(n int) int { return min(n, 4) }, func(s string) string { return string(gjson.AppendJSONString(nil, s)) }, tool, 0}
				first, second := one.on(op), two.on(op)
				rescued, typed := 0, 0
				for cut := 0; cut < len(first); cut += ifFull(3, 11) {
					asked := 0
					rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
						if asked++; asked > 1 {
							return answer(200, asStream, second), nil
						}
						if cut%2 == 0 {
							return answerFrom(200, asStream, fakehost.Cut(first[:cut], errors.New("reset"))), nil
						}
						return answer(200, asStream, first[:cut]), nil
					}), noBreaker, WithStream(StreamPolicy{Rescue: RescueRestart}), WithRetry(RetryPolicy{MinDelay: Off}), WithEndpoints(at("a")...), WithBackup(at("b")...))
					got := asksWire(t, rt, op)
					a := strictly(t, op, got.body, got.err == nil)
					called := tool && strings.Contains(got.body, map[request.Operation]string{request.Messages: "tool_one", request.Responses: "fc_one"}[op])
					switch {
					case got.err == nil && asked == 2:
						rescued++
						if called {
							t.Fatalf("cut at %d, a tool call was begun anew:\n%s", cut, got.body)
						}
						fallthrough
					case got.err == nil:
						if !a.finished || a.text != text || a.reasoning != reasoning || (a.tools > 0) != tool || a.usage != 5 {
							t.Fatalf("cut at %d (%q): %+v\n%s", cut, first[max(0, cut-20):cut], a, got.body)
						}
					default:
						typed++
						if !outcome.Broke(got.err) || !called {
							t.Fatalf("cut at %d (%q): %v\n%s", cut, first[max(0, cut-20):cut], got.err, got.body)
						}
					}
				}
				if rescued < len(first)/ifFull(6, 22) || tool && typed == 0 {
					t.Errorf("%s: %d of %d rescued, %d typed", op, rescued, len(first), typed)
				}
			}
		}
	}
}

// Random answers on Messages and Responses, broken off at any byte, by hosts that go on,
// refuse, begin anew or tell something else: the caller reads the whole answer once, or a part
// of its beginning and a typed error.
func TestRescue_WiresRescuedOrTyped(t *testing.T) {
	whole, cut, rescued, continued := 0, 0, 0, 0
	seeds := ifFull(4000, 1000)
	for seed := range seeds {
		random := rand.New(rand.NewPCG(11, uint64(seed)))
		say := sayer(random)
		op := []request.Operation{request.Messages, request.Responses}[random.IntN(2)]
		words, thought := say(80)+"end", ""
		if random.IntN(3) == 0 {
			thought = say(40) + "."
		}
		continues, rejects, varies, tool, breaks := random.IntN(2) == 0, random.IntN(4) == 0, random.IntN(6) == 0, random.IntN(6) == 0, random.IntN(4)
		if !continues && !rejects {
			varies = false
		}
		asked, wentOn := 0, 0
		base := fakehost.NewUnread(func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			req.Body.Close()
			asked++
			a := telling{fmt.Sprint("n", asked), thought, words, func(n int) int { return 1 + random.IntN(min(n, 6)) }, plainQuote, tool, random.IntN(3)}
			if random.IntN(2) == 0 {
				a.quote = func(s string) string { return string(gjson.AppendJSONString(nil, s)) }
			}
			if varies && asked > 1 {
				a.text = "Z" + a.text
			}
			if last := gjson.GetBytes(body, "messages.@reverse.0"); last.Get("role").Str == "assistant" {
				rest, ok := strings.CutPrefix(a.text, last.Get("content").Str)
				switch {
				case rejects, continues && !ok:
					return answer(400, asJSON, `{"error":{"message":"no"}}`), nil
				case continues:
					wentOn++
					a.text, a.reasoning = rest, ""
				}
			}
			text := a.on(op)
			if breaks > 0 {
				breaks--
				at := random.IntN(len(text))
				switch random.IntN(4) {
				case 0:
					text = text[:at] + "\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\"}}\n\n"
				case 1:
					text = text[:at] + "\n\ndata: {\"type\":[\n\n"
				case 2:
					return answerFrom(200, asStream, fakehost.Cut(text[:at], errors.New("reset"))), nil
				default:
					text = text[:at]
				}
			}
			return answer(200, asStream, text), nil
		})
		policy := []Rescue{RescueContinue, RescueRestart, RescueOff}[random.IntN(3)]
		end := func(name string) Endpoint {
			return Endpoint{Name: name, URL: "https://" + name, APIKey: "sk", Can: []Feature{FeaturePrefill}}
		}
		rt := over(t, base, noBreaker, WithStream(StreamPolicy{Rescue: policy}), WithRetry(RetryPolicy{MinDelay: Off}), WithCache(CachePolicy{}), WithEndpoints(end("a")), WithBackup(end("b")))
		got := asksWire(t, rt, op)
		if got.status() != 200 {
			continue
		}
		name := fmt.Sprintf("seed %d, %s: %q behind %q, policy %d, continues %v, rejects %v, varies %v:\n%s", seed, op, words, thought, policy, continues, rejects, varies, got.body)
		body := ""
		for block := range strings.SplitAfterSeq(strings.ReplaceAll(got.body, "data: {\"type\":[\n", ""), "\n\n") {
			if strings.Contains(block, "data: {") { // a host may end an event that has no data, and so no meaning
				body += block
			}
		}
		a := strictly(t, op, body, got.err == nil)
		switch {
		case got.err == nil:
			whole++
			if len(TrailOf(got.resp)) > 1 {
				rescued++
				continued += wentOn
			}
			if !a.finished || a.text != words && a.text != "Z"+words || a.reasoning != thought || (a.tools > 0) != tool {
				t.Fatalf("%s\ncame clean as %+v", name, a)
			}
			if again := asksWire(t, rt, op); strings.Contains(again.header("Cache-Status"), "hit") && !strings.HasPrefix(got.body, again.body) {
				t.Fatalf("%s\nthe cache gave %q", name, again.body)
			}
		case !outcome.Broke(got.err):
			t.Fatalf("%s\nended in %v, want a typed error", name, got.err)
		default:
			cut++
			if !strings.HasPrefix(words, a.text) && !strings.HasPrefix("Z"+words, a.text) || !strings.HasPrefix(thought, a.reasoning) {
				t.Fatalf("%s\nended in %v behind %+v, which is no part of the answer", name, got.err, a)
			}
		}
	}
	if whole < seeds/4 || cut < seeds/20 || rescued < seeds/20 || continued < seeds/100 {
		t.Errorf("%d whole, %d of them rescued, %d continued, %d cut: too little was tested", whole, rescued, continued, cut)
	}
}

// What is sent, and what the caller reads then, to the byte.
func TestRescue_OfWires(t *testing.T) {
	const told, thought = "It was a bright cold day in April, and the clocks", "hm, well"
	piece := func(n int) int { return min(n, 7) }
	whole := func(n int) int { return n }
	answers := func(id, reasoning, text string, piece func(int) int) telling {
		return telling{id, reasoning, text, piece, plainQuote, false, 0}
	}
	upTo := func(stream, mark string) string {
		i := strings.Index(stream, mark)
		if i < 0 {
			t.Fatalf("no %s in %s", mark, stream)
		}
		return stream[:i]
	}
	from := func(stream, mark string) string { return stream[len(upTo(stream, mark)):] }
	anew := []Option{WithStream(StreamPolicy{Rescue: RescueRestart}), WithEndpoints(at("a")...)}
	onward := []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk", Can: []Feature{FeaturePrefill}})}
	const stop = "event: content_block_stop"
	const stopOne = stop + "\n" + `data: {"type":"content_block_stop","index":1}`
	first := answers("one", "", told, piece).message()
	pensive := strings.ReplaceAll(answers("one", thought, told, piece).message(), named(`{"type":"ping"}`), "") // which is dropped before the commit
	tool := named(`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`)
	deltaOf := func(at int, text string) string {
		return named(`{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":"%s"}}`, at, text)
	}
	ending := func(at, used int) string {
		return named(`{"type":"content_block_stop","index":%d}`, at) + named(`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}`, used) + named(`{"type":"message_stop"}`)
	}
	items := answers("one", "", told, piece).response()
	const within = `"item_id":"msg_one","output_index":0,"content_index":0`
	const item = `{"id":"msg_one","type":"message","role":"assistant","content":[{"type":"output_text","text":"` + told + `!"}]}`
	for _, tt := range []struct {
		name   string
		op     request.Operation
		opts   []Option
		first  string
		second string
		sent   string // the second attempt's messages; empty: there is none
		want   string // behind the first; empty: an error
		why    Reason
	}{
		{"a text goes on", request.Messages, onward, upTo(first, stop), answers("two", "", " were striking", whole).message(),
			`[{"role":"user","content":"q"},{"role":"assistant","content":"` + told + `"}]`, deltaOf(0, " were striking") + ending(0, 5+14), ""},
		{"a text begins anew where it should go on", request.Messages, onward, upTo(first, stop), answers("two", "", told+" were striking", whole).message(),
			`[{"role":"user","content":"q"},{"role":"assistant","content":"` + told + `"}]`, "", ReasonMismatch},
		{"it thinks where it should go on", request.Messages, onward, upTo(first, stop), answers("two", "hm", " were striking", whole).message(),
			`[{"role":"user","content":"q"},{"role":"assistant","content":"` + told + `"}]`, "", ReasonMismatch},
		{"a text behind thinking does not go on", request.Messages, onward, upTo(pensive, stopOne), "", "", "", ReasonThought},
		{"a block that has ended does not go on", request.Messages, onward, upTo(first, "event: message_delta"), "", "", "", ReasonHost},
		{"nobody goes on", request.Messages, []Option{WithEndpoints(at("a")...)}, upTo(first, stop), "", "", "", ReasonHost},
		{"DeepSeek does not go on here", request.Messages, []Option{WithEndpoints(deepSeekAt("a"))}, upTo(first, stop), "", "", "", ReasonHost},
		{"anew", request.Messages, anew, upTo(first, stop), answers("two", "", told+" were striking", whole).message(), `[{"role":"user","content":"q"}]`, deltaOf(0, " were striking") + ending(0, 5), ""},
		{"anew, and the same", request.Messages, anew, upTo(first, stop), answers("two", "", told, piece).message(), `[{"role":"user","content":"q"}]`, ending(0, 5), ""},
		{"anew, and only its end", request.Messages, anew, upTo(first, "event: message_delta"), answers("two", "", told, piece).message(), `[{"role":"user","content":"q"}]`, from(ending(0, 5), "event: message_delta"), ""},
		{"anew, and more than was whole", request.Messages, anew, upTo(first, "event: message_delta"), answers("two", "", told+" were striking", whole).message(), `[{"role":"user","content":"q"}]`, "", ReasonMismatch},
		{"anew, and shorter", request.Messages, anew, upTo(first, stop), answers("two", "", told[:20], piece).message(), `[{"role":"user","content":"q"}]`, "", ReasonMismatch},
		{"anew, and another", request.Messages, anew, upTo(first, stop), answers("two", "", "It was a dark and stormy night; the rain fell", piece).message(), `[{"role":"user","content":"q"}]`, "", ReasonMismatch},
		{"anew, behind thinking", request.Messages, anew, upTo(pensive, stopOne), telling{"two", thought, told + "!", whole, plainQuote, false, 3}.message(), `[{"role":"user","content":"q"}]`, deltaOf(1, "!") + ending(1, 5), ""},
		{"anew, and other thoughts", request.Messages, anew, upTo(pensive, stopOne), answers("two", "ah, well", told, piece).message(), `[{"role":"user","content":"q"}]`, "", ReasonMismatch},
		{"anew, without thoughts", request.Messages, anew, upTo(pensive, stopOne), answers("two", "", told, piece).message(), `[{"role":"user","content":"q"}]`, "", ReasonMismatch},
		{"anew, with thoughts where were none", request.Messages, anew, upTo(first, stop), answers("two", thought, told, piece).message(), `[{"role":"user","content":"q"}]`, "", ReasonMismatch},
		{"a tool call has begun", request.Messages, anew, upTo(first, "event: message_delta") + tool, "", "", "", ReasonContent},
		{"a citation has come", request.Messages, anew, upTo(first, stop) + named(`{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"x":1}}}`), "", "", "", ReasonContent},
		{"an item goes on anew", request.Responses, anew, upTo(items, "event: response.output_text.done"), telling{"two", "", told + "!", whole, plainQuote, false, 4}.response(), `q`,
			named(`{"type":"response.output_text.delta","sequence_number":11,%s,"delta":"!","logprobs":[]}`, within) + named(`{"type":"response.output_text.done","sequence_number":12,%s,"text":"%s!"}`, within, told) +
				named(`{"type":"response.content_part.done","sequence_number":13,%s,"part":{"type":"output_text","text":"%s!"}}`, within, told) + named(`{"type":"response.output_item.done","sequence_number":14,"output_index":0,"item":%s}`, item) +
				named(`{"type":"response.completed","sequence_number":15,"response":{"id":"resp_one","status":"completed","output":[%s],"usage":{"input_tokens":7,"output_tokens":5,"total_tokens":12}}}`, item), ""},
		{"a host that does not say what begins", request.Responses, anew, named(`{"type":"response.created","response":{"status":"in_progress"}}`) + named(`{"type":"response.output_text.delta","delta":"%s"}`, told), answers("two", "", told+"!", whole).response(), `q`,
			named(`{"type":"response.output_text.delta","sequence_number":1,"item_id":"msg_two","output_index":0,"content_index":0,"delta":"!","logprobs":[]}`) + named(`{"type":"response.output_text.done","sequence_number":2,"item_id":"msg_two","output_index":0,"content_index":0,"text":"%s!"}`, told) +
				named(`{"type":"response.content_part.done","sequence_number":3,"item_id":"msg_two","output_index":0,"content_index":0,"part":{"type":"output_text","text":"%s!"}}`, told) +
				named(`{"type":"response.completed","sequence_number":4,"response":{"id":"resp_two","status":"completed","output":[%s],"usage":{"input_tokens":7,"output_tokens":5,"total_tokens":12}}}`, strings.ReplaceAll(item, "one", "two")), ""},
		{"blocks that nobody begins", request.Messages, anew, named(`{"type":"message_start","message":{}}`) + named(`{"type":"content_block_delta","delta":{"type":"text_delta","text":"%s"}}`, told), named(`{"type":"message_start","message":{}}`) + named(`{"type":"content_block_delta","delta":{"type":"text_delta","text":"%s!"}}`, told) + named(`{"type":"message_stop"}`), `[{"role":"user","content":"q"}]`,
			named(`{"type":"content_block_delta","delta":{"type":"text_delta","text":"!"}}`) + named(`{"type":"message_stop"}`), ""},
		{"what is no event goes by", request.Responses, anew, upTo(items, "event: response.output_text.done"), "data: null\n\n" + answers("two", "", told, piece).response(), `q`, "data: null\n\n" + from(items, "event: response.output_text.done"), ""},
		{"a response has no default rescue", request.Responses, onward, upTo(items, "event: response.output_text.done"), "", "", "", ReasonHost},
		{"a search has begun", request.Responses, anew, upTo(items, "event: response.output_item.done") + named(`{"type":"response.output_item.added","sequence_number":99,"output_index":1,"item":{"id":"x","type":"web_search_call"}}`), "", "", "", ReasonContent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told, observer := watch()
			sent, asked := "", 0
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				body, _ := io.ReadAll(req.Body)
				req.Body.Close()
				if asked++; asked == 1 {
					return answer(200, asStream, tt.first), nil
				}
				if asked == 2 {
					sent = gjson.GetBytes(body, "messages").Raw + gjson.GetBytes(body, "input").Str
				}
				return answer(200, asStream, tt.second), nil
			}), append(tt.opts, observer, noBreaker)...)
			got := asksWire(t, rt, tt.op)
			if got.body != tt.first+tt.want || (got.err == nil) != (tt.want != "") || sent != tt.sent {
				t.Errorf("sent %q, got %v\n%s\nwant %q\n%s", sent, got.err, strings.TrimPrefix(got.body, tt.first), tt.sent, tt.want)
			}
			var why Reason
			for _, e := range *told {
				if e.Kind == KindBreak {
					why = e.Reason
				}
			}
			if why != tt.why {
				t.Errorf("told of %q, want %q", why, tt.why)
			}
		})
	}
}

// What is kept of an answer on these wires has the bound of a chat's, and so has what an
// attempt tells that should go on.
func TestRescue_WiresKeepWithinBounds(t *testing.T) {
	large := ifFull(64, 12) << 20
	xs := strings.Repeat("x", 4000)
	message := named(`{"type":"message_start","message":{}}`) + named(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
	response := named(`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"m","type":"message"}}`)
	text := named(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}`, xs)
	for _, tt := range []struct {
		name        string
		op          request.Operation
		head, event string
		size, most  int
		rescued     bool
	}{
		{"a message", request.Messages, message, text, resume.MaxTranscript * 9 / 10, resume.MaxTranscript * 3 / 2, true},
		{"a message without an end", request.Messages, message, text, large, resume.MaxTranscript * 3 / 2, false},
		{"a tool call", request.Messages, message, named(`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"%s"}}`, xs), 1 << 20, 0, false},
		{"a response", request.Responses, response, named(`{"type":"response.output_text.delta","sequence_number":2,"output_index":0,"delta":"%s"}`, xs), resume.MaxTranscript * 9 / 10, resume.MaxTranscript * 3 / 2, true},
		{"a response without an end", request.Responses, response, named(`{"type":"response.output_text.delta","sequence_number":2,"output_index":0,"delta":"%s"}`, xs), large, resume.MaxTranscript * 3 / 2, false},
		{"items without an end", request.Responses, response, named(`{"type":"response.output_item.added","output_index":1,"item":{"id":"%s","type":"message"}}`, xs) + named(`{"type":"response.output_text.delta","output_index":1,"delta":"x"}`), 1 << 20, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			var body io.ReadCloser
			m := &meter{head: tt.head, event: tt.event, left: tt.size, body: &body}
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
				if asked++; asked > 1 {
					return answer(400, asJSON, "{}"), nil
				}
				return answerFrom(200, asStream, m), nil
			}), noBreaker, WithStream(StreamPolicy{Rescue: RescueRestart}), WithEndpoints(at("a")...), WithBackup(at("b")...))
			req, _ := post(t.Context(), "https://a", `{"model":"m","stream":true,"max_tokens":9,"input":"q","messages":[{"role":"user","content":"q"}]}`)
			req.URL.Path = map[request.Operation]string{request.Messages: "/v1/messages", request.Responses: "/v1/responses"}[tt.op]
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body = resp.Body
			n, err := io.Copy(io.Discard, body)
			if n < int64(tt.size) || !errors.Is(err, ErrTruncated) || (asked > 1) != tt.rescued {
				t.Errorf("the caller read %d bytes and %v after %d requests, want a rescue to be tried: %v", n, err, asked, tt.rescued)
			}
			if m.most > tt.most || kept(body) > 0 {
				t.Errorf("%d bytes were held, %d behind the end, want at most %d and none", m.most, kept(body), tt.most)
			}
			resp.Body.Close()
		})
	}
}
