package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/sse"
)

// chunk is a chunk of a chat with a delta.
func chunk(delta string) string {
	return `{"id":"1","created":1,"choices":[{"index":0,"delta":` + delta + `,"finish_reason":null}]}`
}

// A repeatReader reads a stream's events, if it is to with a Repeat.
type repeatReader struct {
	scan       *sse.Scanner
	from       *strings.Reader
	answer     Answer
	transcript Transcript
	said       Said
	repeat     *Repeat
}

func newRepeatReader(w Wire, transcribe bool, stream string, repeat *Repeat) *repeatReader {
	r := &repeatReader{scan: sse.New(1<<20, false), from: strings.NewReader(stream), answer: Answer{Wire: w}, repeat: repeat}
	r.answer.Said = &r.said
	if transcribe {
		r.answer.Transcript = &r.transcript
	}
	return r
}

// next returns the next event and what it means, nil at the end.
func (r *repeatReader) next() (*sse.Event, Signal) {
	for {
		if r.repeat != nil {
			if n := r.repeat.Next(&r.answer, r.scan.Unread()); n > 0 {
				return r.scan.TakeEvent(n), Payload
			}
		}
		ev, _ := r.scan.Next()
		if ev == nil {
			if _, err := r.scan.Fill(r.from); err == nil {
				continue
			}
			if ev = r.scan.Rest(); ev == nil {
				return nil, Nothing
			}
		}
		if r.repeat != nil && ev.Kind == sse.Data && ev.One && !ev.Error {
			return ev, r.repeat.Event(&r.answer, ev.Raw, ev.Data)
		}
		return ev, r.answer.Event(ev.Data)
	}
}

// known is what the answer says so far.
func (r *repeatReader) known() string {
	a := r.answer
	a.Transcript, a.Said = nil, nil
	frame := Frame{}
	if f := r.transcript.Frame; f != nil {
		frame = *f
		frame.Latest = Step{} // of events that were parsed
	}
	return fmt.Sprintf("%+v, %q, %q, %v, %v, %+v, %q", a, r.transcript.Text, r.transcript.Reasoning, r.transcript.Other, r.transcript.Late, frame, fmt.Sprint(r.said))
}

// both reads a stream with and without a Repeat, and compares what is known after each event.
func both(t *testing.T, w Wire, transcribe bool, stream string) {
	t.Helper()
	got, want := newRepeatReader(w, transcribe, stream, &Repeat{}), newRepeatReader(w, transcribe, stream, nil)
	for i := 0; ; i++ {
		ev, said := got.next()
		expected, say := want.next()
		if (ev == nil) != (expected == nil) {
			t.Fatalf("event %d of %q: %v, want %v", i, stream, ev, expected)
		}
		if ev == nil {
			return
		}
		if ev.Kind != expected.Kind || ev.One != expected.One || ev.Error != expected.Error || string(ev.Raw) != string(expected.Raw) {
			t.Fatalf("event %d of %q: %q, want %q", i, stream, ev.Raw, expected.Raw)
		}
		if said != say || got.known() != want.known() {
			t.Fatalf("event %d of %q: %v, %s, want %v, %s", i, stream, said, got.known(), say, want.known())
		}
	}
}

// What repeats but for its text means what the parser says that it means.
func TestRepeat(t *testing.T) {
	text := func(s string) string { return chunk(`{"content":"` + s + `"}`) }
	think := func(s string) string { return chunk(`{"content":null,"reasoning_content":"` + s + `"}`) }
	message := func(s string) string {
		return `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + s + `"}}`
	}
	for name, tt := range map[string]struct {
		wire   Wire
		events []string
	}{
		"text":                       {Chat, []string{chunk(`{"role":"assistant","content":""}`), text("a"), text("b"), chunk(`{"content":5}`), text(`\"\\`), text("你好"), text(""), text("c")}},
		"thinking, then text":        {Chat, []string{think("a"), think("b"), text("c"), text("d"), think("e")}},
		"a text that is none":        {Chat, []string{text("a"), text("b\x01"), text("c"), text(`\x`), text("d"), text("e")[:90]}},
		"a text that ends too early": {Chat, []string{text("a"), text(`b","content":"c`), text("d")}},
		"two texts in one event":     {Chat, []string{chunk(`{"content":"a","content":"b"}`), chunk(`{"content":"a","content":"c"}`), text("d")}},
		"a text beside a tool call":  {Chat, []string{chunk(`{"content":"a","tool_calls":[{}]}`), chunk(`{"content":"b","tool_calls":[{}]}`)}},
		"another choice":             {Chat, []string{strings.Replace(text("a"), `"index":0`, `"index":1`, 1), strings.Replace(text("b"), `"index":0`, `"index":1`, 1)}},
		"usage in each event":        {Chat, []string{text("a")[:len(text("a"))-1] + `,"usage":{"total_tokens":1}}`, text("b")[:len(text("b"))-1] + `,"usage":{"total_tokens":1}}`}},
		"an end in each event":       {Chat, []string{strings.Replace(text("a"), "null", `"length"`, 1), strings.Replace(text("b"), "null", `"length"`, 1)}},
		"an error in each event":     {Chat, []string{text("a")[:len(text("a"))-1] + `,"error":{}}`, text("b")[:len(text("b"))-1] + `,"error":{}}`}},
		"no JSON behind":             {Chat, []string{text("a"), text("b") + "x", text("c")}},
		"a message":                  {Messages, []string{message("a"), message("b"), message(`\n`), message(""), message("c"), `{"type":"message_stop"}`}},
		"a message with its start":   {Messages, []string{`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, message("a"), message("b"), strings.Replace(message("c"), `"index":0`, `"index":1`, 1), message("d")}},
		"a message that thinks": {Messages, []string{`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`, strings.ReplaceAll(message("a"), "text", "thinking"), strings.ReplaceAll(message("b"), "text", "thinking"),
			`{"type":"content_block_stop","index":0}`, `{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`, strings.Replace(message("a"), `"index":0`, `"index":1`, 1), strings.Replace(message("b"), `"index":0`, `"index":1`, 1)}},
		"Responses with its item":       {Responses, []string{`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"message","id":"1"}}`, response("2", "a", "x"), response("3", "b", "yz"), response("10", "", "x"), response("11", "c", ""), response(`"1"`, "d", ""), response("12", "e", "x")}},
		"a message without its start":   {Messages, []string{message("a"), strings.Replace(message("b"), "text_delta", "thinking_delta", 1)}},
		"Responses, with numbers":       {Responses, []string{response("1", "a", "x"), response("2", "b", "yz"), response("10", "", "x"), response("1e", "c", ""), response("-1", "d", `\"`), response(`"1"`, "e", ""), response("{}", "f", "x"), response("3", "g", "x")}},
		"padding of a chat":             {Chat, []string{padded("a", "x"), padded("b", ""), padded("c", `y","error":"z`), padded("d", "x"), text("e")}},
		"Responses":                     {Responses, []string{`{"type":"response.output_text.delta","delta":"a"}`, `{"type":"response.output_text.delta","delta":"b"}`}},
		"an index that counts":          {Chat, counted(20)},
		"a text in a completion's form": {Chat, []string{`{"choices":[{"index":0,"text":"a"}]}`, `{"choices":[{"index":0,"text":"b"}]}`}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stream := range []string{
				"data: " + strings.Join(tt.events, "\n\ndata: ") + "\n\n",
				"event: x\r\ndata:" + strings.Join(tt.events, "\r\n\r\nevent: x\r\ndata:"),
				"data: " + strings.Join(tt.events, "\n: c\n\n: c\n\ndata: ") + "\ndata:\n\n",
				"event: error\ndata: " + strings.Join(tt.events, "\n\nevent: error\ndata: ") + "\n\n",
			} {
				both(t, tt.wire, false, stream)
				both(t, tt.wire, true, stream)
			}
		})
	}
}

// response is an event of Responses with its number and padding.
func response(number, text, padding string) string {
	return `{"type":"response.output_text.delta","sequence_number":` + number + `,"item_id":"1","delta":"` + text + `","obfuscation":"` + padding + `"}`
}

// padded is a chunk of a chat with padding.
func padded(text, padding string) string {
	return strings.Replace(chunk(`{"content":"`+text+`"}`), `{"id"`, `{"obfuscation":"`+padding+`","id"`, 1)
}

// counted are chunks whose index counts them.
func counted(n int) (events []string) {
	for i := range n {
		events = append(events, strings.Replace(chunk(`{"content":"a"}`), `"index":0`, fmt.Sprintf(`"index":%d`, i), 1))
	}
	return events
}

// Chunks that repeat are recognised, and those that never do are not looked at twice for
// ever.
func TestRepeat_Recognises(t *testing.T) {
	var r Repeat
	a := Answer{}
	read := func(chunk string) {
		lines := []byte("data: " + chunk + "\n\n")
		if r.Next(&a, lines) == 0 {
			r.Event(&a, lines, lines[len("data: "):len(lines)-len("\n\n")])
		}
	}
	recognised := func(chunk string) bool { _, _, n := r.match([]byte("data: " + chunk + "\n\n")); return n > 0 }
	for i := range 3 {
		if got := recognised(chunk(`{"content":"a"}`)); got != (i > 0) {
			t.Errorf("chunk %d: recognised: %v", i, got)
		}
		read(chunk(`{"content":"a"}`))
	}
	if recognised(chunk(`{"content":"` + strings.Repeat("a", maxRepeat) + `"}`)) {
		t.Error("a long text is read again and again while it comes")
	}
	for i := range 2 * maxMisses {
		read(strings.Replace(chunk(`{"content":"a"}`), `"created":1`, fmt.Sprintf(`"created":%d`, 2+i), 1))
	}
	if r.misses != maxMisses {
		t.Errorf("%d events were learned in vain, want %d", r.misses, maxMisses)
	}
	r, a = Repeat{}, Answer{Wire: Responses}
	if read(response("7", "a", "x")); !recognised(response("10", "b", "yz")) || recognised(response("8", "", "x")) || recognised(response("8", "c", "x")+"x") {
		t.Error("an event of Responses with another number and padding is not recognised, or another one is")
	}
	a = Answer{}
	large := chunk(`{"content":"a","x":"` + strings.Repeat("x", maxRepeat) + `"}`)
	r = Repeat{}
	if read(large); recognised(large) {
		t.Error("a large event is kept")
	}
}

// FuzzRepeat compares what is read of a stream with what the parser alone reads.
func FuzzRepeat(f *testing.F) {
	const data, ends = "data: ", "\n\n"
	f.Add([]byte(data + chunk(`{"content":"a"}`) + ends + data + chunk(`{"content":"b"}`) + ends + data + chunk(`{"content":""}`) + ends))
	f.Add([]byte("id: 1\r\n" + data + chunk(`{"reasoning":"a","content":null}`) + "\r\n\r\n: b\n\n" + data + chunk(`{"reasoning":"b","content":null}`)))
	f.Add([]byte("event: a\n" + data + `{"type":"content_block_delta","delta":{"text":"a"}}` + ends + data + `{"type":"content_block_delta","delta":{"text":"b"}}` + ends))
	f.Add([]byte(data + response("7", "a", "b") + ends))
	f.Add([]byte(data + padded("a", "b") + ends))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var events strings.Builder
		for event := range strings.SplitAfterSeq(string(stream), ends) {
			// The same event with another text is what a Repeat looks for.
			events.WriteString(event + strings.Replace(event, `"a"`, `"bc"`, 1) + strings.Replace(event, `"b"`, `""`, 1) + event)
		}
		for w := Chat; w <= Embeddings; w++ {
			both(t, w, w == Chat, events.String())
		}
	})
}
