package resume

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	long   = "It was a bright cold day in April, and the clocks" // beyond MinOverlap, and it does not repeat itself
	done   = "data: [DONE]\n\n"
	finish = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
)

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func text(s string) string {
	return `data: {"id":"second","choices":[{"index":0,"delta":{"content":` + quote(s) + `}}]}` + "\n\n"
}

func reasoning(s string) string {
	return `data: {"choices":[{"index":0,"delta":{"reasoning_content":` + quote(s) + `}}]}` + "\n\n"
}

// told is a transcript of so much.
func told(text, reasoning string, l Limits) Transcript {
	t := Transcript{limits: l}
	t.add(text, reasoning, false)
	return t
}

// play has a stream continue a transcript. It returns what the reader is given and
// the last verdict.
func play(t *Transcript, o Options, stream string) (given string, v Verdict) {
	var out strings.Builder
	a := NewAligner(t, o, func(event []byte) { out.Write(event) })
	scan, src := sse.New(1<<20, true), strings.NewReader(stream)
	for {
		ev, err := scan.Next()
		if err != nil {
			panic(err)
		}
		if ev != nil {
			if v = a.Event(*ev); v == Rejected {
				return out.String(), v
			}
			continue
		}
		if _, err := scan.Fill(src); err != nil {
			break
		}
	}
	if ev := scan.Rest(); ev != nil {
		a.Event(*ev)
	}
	if v != Complete {
		v = a.End()
	}
	return out.String(), v
}

// texts joins what events say in content and in reasoning_content.
func texts(given string) (text, reasoning string) {
	for line := range strings.Lines(given) {
		var chunk struct {
			Choices []struct {
				Delta struct {
					Content   string
					Reasoning string `json:"reasoning_content"`
				}
			}
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok && json.Unmarshal([]byte(data), &chunk) == nil && len(chunk.Choices) > 0 {
			text += chunk.Choices[0].Delta.Content
			reasoning += chunk.Choices[0].Delta.Reasoning
		}
	}
	return text, reasoning
}

func TestAligner_Continues(t *testing.T) {
	anew := Options{Wire: wire.Chat, MayRestart: true}
	restart := Options{Wire: wire.Chat, Restart: true, MayRestart: true}
	for _, test := range []struct {
		name            string
		text, reasoning string // told before
		options         Options
		stream          string
		verdict         Verdict
		more            string // text given now
	}{
		{"a text", long, "", Options{}, text(" were striking") + finish + done, Complete, " were striking"},
		{"a text, without a terminator", long, "", Options{}, text(" were striking") + finish, Complete, " were striking"},
		{"a short text", "It", "", Options{}, text(" was") + finish + done, Complete, " was"},
		{"a short text that it may repeat", "It", "", Options{}, text("It was") + finish + done, Rejected, ""},
		{"letter by letter", long, "", Options{}, text("I") + text("t") + text("!") + finish + done, Complete, "It!"},
		{"a text from its beginning", long, "", Options{}, text(long+" were") + finish + done, Rejected, ""},
		{"a text from its beginning, as good", long, "", anew, text(long[:40]) + text(long[40:]+" were") + finish + done, Complete, " were"},
		{"a text that repeats itself", strings.Repeat("ab", 40), "", anew, text(strings.Repeat("ab", 30)) + finish + done, Rejected, ""},
		{"reasoning where a text is to be continued", long, "", Options{}, reasoning("hm") + text(" were") + done, Rejected, ""},
		{"nothing", long, "", Options{}, "", Complete, ""},
		{"several lines of data", long, "", Options{}, strings.TrimSuffix(text(" were"), "\n") + finish + done, Complete, " were"},

		{"anew", long, "", restart, text(long) + text(" were") + finish + done, Complete, " were"},
		{"anew, in one event", long, "", restart, text(long+" were") + finish + done, Complete, " were"},
		{"anew, and another text", long, "", restart, text("It was a dark and stormy night") + finish + done, Rejected, ""},
		{"anew, and shorter", long, "", restart, text(long[:10]) + finish + done, Rejected, ""},
		{"anew, and cut off", long, "", restart, text(long[:10]), Rejected, ""},
		{"anew, and only a terminator", long, "", restart, done, Rejected, ""},
		{"anew, behind reasoning", long, "hm", restart, reasoning("hm") + text(long+" were") + finish + done, Complete, " were"},
		{"anew, with other reasoning", long, "hm", restart, reasoning("ah") + text(long+" were") + done, Rejected, ""},
		{"anew, without the reasoning", long, "hm", restart, text(long+" were") + done, Rejected, ""},
		{"anew, with more reasoning before the text", long, "hm", restart, reasoning("hm, well") + text(long) + done, Rejected, ""},
		{"anew, in the middle of its reasoning", "", "hm", restart, reasoning("hm, well") + text(long) + finish + done, Complete, long},
		{"anew, with a tool call first", long, "", restart, `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}` + "\n\n", Rejected, ""},
	} {
		before := told(test.text, test.reasoning, Limits{Reasoning: true})
		test.options.Wire = wire.Chat
		given, verdict := play(&before, test.options, test.stream)
		more, _ := texts(given)
		if verdict != test.verdict || more != test.more {
			t.Errorf("%s: got %d with %q, want %d with %q", test.name, verdict, more, test.verdict, test.more)
		}
		if verdict == Complete && !before.Closed && string(before.Text) != test.text+test.more {
			t.Errorf("%s: the transcript has %q, want %q", test.name, before.Text, test.text+test.more)
		}
	}
}

// However a host cuts an answer that begins anew into events, its reader is given
// the rest to the byte, and a character that is cut in two is never half given.
func TestAligner_RestartsAtAnyCut(t *testing.T) {
	whole := "Hé, «größer» — 你好世界, 🙂 and so on, a good deal beyond the overlap"
	for at := 1; at < len(whole); at += 3 {
		for cut := 1; cut < len(whole); cut += 5 {
			before := told(strings.ToValidUTF8(whole[:at], ""), "", Limits{Reasoning: true})
			prefix := string(before.Text)
			stream := text(strings.ToValidUTF8(whole[:cut], "")) + text(strings.TrimPrefix(whole, strings.ToValidUTF8(whole[:cut], ""))) + finish + done
			given, v := play(&before, Options{Wire: wire.Chat, Restart: true, MayRestart: true}, stream)
			more, _ := texts(given)
			if v == Complete && prefix+more != whole {
				t.Fatalf("told %q, cut at %d: got %q, want %q", prefix, cut, prefix+more, whole)
			}
			if v == Rejected && !strings.HasPrefix(whole, prefix+more) {
				t.Fatalf("told %q, cut at %d: got %q before it was rejected", prefix, cut, more)
			}
		}
	}
}

func TestAligner_MakesEventsFit(t *testing.T) {
	before := told(long, "", Limits{})
	stream := ": alive\n\n" + `data: {"id":"second","choices":[{"index":3,"delta":{"role":"assistant","content":" were"}}]}` + "\n\n" +
		`data: {"choices":[{"index":3,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}` + "\n\n" + done
	given, v := play(&before, Options{Wire: wire.Chat, ID: []byte(`"first"`)}, stream)
	want := ": alive\n" + `data: {"id":"first","choices":[{"index":0,"delta":{"role":null,"content":" were"}}]}` + "\n\n" +
		`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":16,"total_tokens":23}}` + "\n\n" + done
	if v != Complete || given != want {
		t.Errorf("got %d:\n%s\nwant:\n%s", v, given, want)
	}
}

// The last stream that may continue another keeps no transcript.
func TestAligner_LastKeepsNothing(t *testing.T) {
	before := told(long, "", Limits{})
	if _, v := play(&before, Options{Wire: wire.Chat, Last: true}, text(" were")+finish+done); v != Complete || !before.Closed || before.Text != nil {
		t.Errorf("got %d and a transcript of %q, closed %v; want none", v, before.Text, before.Closed)
	}
}

// What is held back has a bound.
func TestAligner_HoldsWithinBounds(t *testing.T) {
	before := told(long, "", Limits{})
	a := NewAligner(&before, Options{Wire: wire.Chat}, func([]byte) {})
	first := sse.Event{Kind: sse.Data, One: true, Data: []byte(strings.TrimPrefix(strings.TrimSpace(text(long[:5])), "data: "))}
	empty := sse.Event{Kind: sse.Data, One: true, Data: []byte(`{"choices":[{"index":0,"delta":{}}]}`)}
	v, most := a.Event(first), 0
	for n := 0; v == Fits && n < 1<<20; n++ {
		v = a.Event(empty)
		most = max(most, a.Held())
	}
	if v != Rejected || most > MaxTranscript+1024 {
		t.Errorf("got %d after %d bytes, want a rejection at %d", v, most, MaxTranscript)
	}
}

func TestTranscript_Limits(t *testing.T) {
	for _, test := range []struct {
		name   string
		events wire.Transcript
		limits Limits
		closed bool
	}{
		{"a text", wire.Transcript{Text: []byte("hi")}, Limits{}, false},
		{"escapes", wire.Transcript{Text: []byte(`a\n\"b\"`)}, Limits{}, false},
		{"a tool call", wire.Transcript{Other: true}, Limits{}, true},
		{"reasoning", wire.Transcript{Reasoning: []byte("hm")}, Limits{}, true},
		{"reasoning that may begin anew", wire.Transcript{Reasoning: []byte("hm")}, Limits{Reasoning: true}, false},
		{"half a character", wire.Transcript{Text: []byte(`\ud83d`)}, Limits{}, true},
		{"too long", wire.Transcript{Text: []byte(strings.Repeat("x", MaxTranscript+1))}, Limits{}, true},
	} {
		if got := NewTranscript(&test.events, test.limits); got.Closed != test.closed || got.Closed && (got.Text != nil || got.Reasoning != nil) {
			t.Errorf("%s: closed %v, want %v", test.name, got.Closed, test.closed)
		}
	}
	if got := NewTranscript(&wire.Transcript{Text: []byte(`a\n\"b\"`)}, Limits{}); string(got.Text) != "a\n\"b\"" {
		t.Errorf("got %q, want the text without its escapes", got.Text)
	}
}

// Whatever a host says, the reader of a stream that begins anew is given what
// follows the transcript, or nothing more.
func FuzzAligner(f *testing.F) {
	f.Add(long, long+" were striking", uint8(7), true)
	f.Add("aaaa", "aaaaaa", uint8(1), false)
	f.Add("你好世界", "你好世界!", uint8(2), true)
	f.Fuzz(func(t *testing.T, before, answer string, cut uint8, restart bool) {
		if before = strings.ToValidUTF8(before, ""); before == "" {
			return
		}
		answer = strings.ToValidUTF8(answer, "")
		var stream strings.Builder
		runes := []rune(answer)
		for size := int(cut) + 1; len(runes) > 0; {
			n := min(size, len(runes))
			stream.WriteString(text(string(runes[:n])))
			runes = runes[n:]
		}
		stream.WriteString(finish + done)
		transcript := told(before, "", Limits{Reasoning: true})
		given, v := play(&transcript, Options{Wire: wire.Chat, Restart: restart, MayRestart: true}, stream.String())
		more, _ := texts(given)
		switch {
		case restart && !strings.HasPrefix(answer, before) && v == Complete:
			t.Errorf("%q does not begin with %q, and was taken for the same", answer, before)
		case restart && v == Complete && before+more != answer:
			t.Errorf("told %q, then %q, want %q in all", before, more, answer)
		case !restart && v == Complete && more != answer && before+more != answer:
			t.Errorf("told %q, then %q: neither all of %q nor what follows", before, more, answer)
		}
	})
}

// transcriptOf reads a stream as the judge does. It is closed if the judge would end it.
func transcriptOf(w wire.Wire, stream string) Transcript {
	var t wire.Transcript
	ends := false
	a := wire.Answer{Wire: w, Transcript: &t}
	read := func(ev *sse.Event) {
		if ev == nil || ev.Kind != sse.Data {
			return
		}
		if ev.One || json.Valid(ev.Data) {
			ends = a.Event(ev.Data) >= wire.Malformed || ends
			return
		}
		for line := range strings.SplitSeq(string(ev.Data), "\n") {
			ends = a.Event([]byte(line)) >= wire.Malformed || ends
		}
	}
	scan, src := sse.New(1<<20, true), strings.NewReader(stream)
	for {
		ev, err := scan.Next()
		if err != nil {
			break
		}
		if read(ev); ev != nil {
			continue
		}
		if _, err := scan.Fill(src); err != nil {
			read(scan.Rest())
			break
		}
	}
	t.Other = t.Other || ends
	return NewTranscript(&t, Limits{Reasoning: true})
}

// Whatever two hosts say on Messages and Responses, what the reader of both is given is an
// answer of at most the parts and texts that the second stream has: read as one stream, it can be
// continued, or has something that cannot be.
func FuzzAligner_Parts(f *testing.F) {
	message := `data: {"type":"message_start"}` + "\n\n" + `data: {"type":"content_block_start","index":0,"content_block":{"type":"text"}}` + "\n\n" +
		`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + long + `"}}` + "\n\n"
	response := `data: {"type":"response.output_item.added","sequence_number":3,"output_index":1,"item":{"id":"a","type":"message"}}` + "\n\n" +
		`data: {"type":"response.output_text.delta","sequence_number":4,"output_index":1,"item_id":"a","delta":"` + long + `"}` + "\n\n"
	f.Add(message, message+`data: {"type":"content_block_stop","index":0}`+"\n\n"+`data: {"type":"message_stop"}`+"\n\n", true, true)
	f.Add(message, message+`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}`+"\n\n", true, false)
	f.Add(response, strings.ReplaceAll(response, `"a"`, `"b"`)+`data: {"type":"response.completed","response":{"output":[{"id":"b"}]}}`+"\n\n", false, true)
	f.Add(message, `data:{"type":"content_block_delta","delta":{"type":"text_delta","text":"`+long+`","text":"0"}}`, true, true)
	f.Add(response, "data: null\n\n"+response, false, true)
	f.Fuzz(func(t *testing.T, first, second string, isMessage, restart bool) {
		w := wire.Responses
		if isMessage {
			w = wire.Messages
		}
		before := transcriptOf(w, first)
		if before.Closed || len(before.Text)+len(before.Reasoning) == 0 {
			return
		}
		text, reasoning := string(before.Text), string(before.Reasoning)
		theirs := transcriptOf(w, second)
		given, v := play(&before, Options{Wire: w, Restart: restart, MayRestart: restart}, second)
		if v != Complete || before.Closed || theirs.Closed {
			return
		}
		switch both := transcriptOf(w, first+"\n\n"+given); {
		case both.Closed:
			t.Errorf("%q, then %q: what was given cannot be read as one: %q", first, second, given)
		case string(both.Text) != string(before.Text) || string(both.Reasoning) != string(before.Reasoning):
			t.Errorf("%q, then %q: the reader has %q and %q, noted is %q and %q", first, second, both.Text, both.Reasoning, before.Text, before.Reasoning)
		case restart && (string(both.Text) != string(theirs.Text) || string(both.Reasoning) != string(theirs.Reasoning)):
			t.Errorf("%q, then %q: the reader has %q behind %q, want that of the second alone, given %q", text, reasoning, both.Text, both.Reasoning, given)
		}
	})
}
