package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// chunk is a chunk of a chat with a delta.
func chunk(delta string) string {
	return `{"id":"1","created":1,"choices":[{"index":0,"delta":` + delta + `,"finish_reason":null}]}`
}

// both reads the events of a stream with and without a Repeat, and compares what is known
// after each.
func both(t *testing.T, w Wire, transcribe bool, events ...string) {
	t.Helper()
	var r Repeat
	got, want := Answer{Wire: w}, Answer{Wire: w}
	var gotText, wantText Transcript
	if transcribe {
		got.Transcript, want.Transcript = &gotText, &wantText
	}
	for i, event := range events {
		said, say := r.Event(&got, bytes.Clone([]byte(event))), want.Event([]byte(event))
		got.Transcript, want.Transcript = nil, nil
		if said != say || got != want {
			t.Fatalf("event %d of %q: %v, %+v, want %v, %+v", i, events, said, got, say, want)
		}
		if string(gotText.Text) != string(wantText.Text) || string(gotText.Reasoning) != string(wantText.Reasoning) || gotText.Other != wantText.Other {
			t.Fatalf("event %d of %q: transcript %q, %q, %v, want %q, %q, %v", i, events,
				gotText.Text, gotText.Reasoning, gotText.Other, wantText.Text, wantText.Reasoning, wantText.Other)
		}
		if transcribe {
			got.Transcript, want.Transcript = &gotText, &wantText
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
		"text":                          {Chat, []string{chunk(`{"role":"assistant","content":""}`), text("a"), text("b"), text(`\"\\`), text("你好"), text(""), text("c")}},
		"thinking, then text":           {Chat, []string{think("a"), think("b"), text("c"), text("d"), think("e")}},
		"a text that is none":           {Chat, []string{text("a"), text("b\x01"), text("c"), text(`\x`), text("d"), text("e")[:90]}},
		"a text that ends too early":    {Chat, []string{text("a"), text(`b","content":"c`), text("d")}},
		"two texts in one event":        {Chat, []string{chunk(`{"content":"a","content":"b"}`), chunk(`{"content":"a","content":"c"}`), text("d")}},
		"a text beside a tool call":     {Chat, []string{chunk(`{"content":"a","tool_calls":[{}]}`), chunk(`{"content":"b","tool_calls":[{}]}`)}},
		"another choice":                {Chat, []string{strings.Replace(text("a"), `"index":0`, `"index":1`, 1), strings.Replace(text("b"), `"index":0`, `"index":1`, 1)}},
		"usage in each event":           {Chat, []string{text("a")[:len(text("a"))-1] + `,"usage":{"total_tokens":1}}`, text("b")[:len(text("b"))-1] + `,"usage":{"total_tokens":1}}`}},
		"an end in each event":          {Chat, []string{strings.Replace(text("a"), "null", `"length"`, 1), strings.Replace(text("b"), "null", `"length"`, 1)}},
		"an error in each event":        {Chat, []string{text("a")[:len(text("a"))-1] + `,"error":{}}`, text("b")[:len(text("b"))-1] + `,"error":{}}`}},
		"no JSON behind":                {Chat, []string{text("a"), text("b") + "x", text("c")}},
		"a message":                     {Messages, []string{message("a"), message("b"), message(`\n`), message(""), message("c"), `{"type":"message_stop"}`}},
		"a message without its start":   {Messages, []string{message("a"), strings.Replace(message("b"), "text_delta", "thinking_delta", 1)}},
		"Responses":                     {Responses, []string{`{"type":"response.output_text.delta","delta":"a"}`, `{"type":"response.output_text.delta","delta":"b"}`}},
		"an index that counts":          {Chat, counted(20)},
		"a text in a completion's form": {Chat, []string{`{"choices":[{"index":0,"text":"a"}]}`, `{"choices":[{"index":0,"text":"b"}]}`}},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, tt.wire, false, tt.events...)
			if tt.wire == Chat {
				both(t, tt.wire, true, tt.events...)
			}
		})
	}
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
	for i := range 3 {
		if got := r.match([]byte(chunk(`{"content":"a"}`))) != nil; got != (i > 0) {
			t.Errorf("chunk %d: recognised: %v", i, got)
		}
		r.Event(&a, []byte(chunk(`{"content":"a"}`)))
	}
	for i := range 2 * maxMisses {
		r.Event(&a, []byte(strings.Replace(chunk(`{"content":"a"}`), `"created":1`, fmt.Sprintf(`"created":%d`, 2+i), 1)))
	}
	if r.misses != maxMisses {
		t.Errorf("%d events were learned in vain, want %d", r.misses, maxMisses)
	}
	large := []byte(chunk(`{"content":"a","x":"` + strings.Repeat("x", maxRepeat) + `"}`))
	if r = (Repeat{}); r.Event(&a, large) != Payload || r.match(large) != nil {
		t.Error("a large event is kept")
	}
}

// FuzzRepeat compares what is read of a stream's events with what the parser alone reads.
func FuzzRepeat(f *testing.F) {
	f.Add([]byte(chunk(`{"content":"a"}`) + "\n" + chunk(`{"content":"b"}`) + "\n" + chunk(`{"content":""}`)))
	f.Add([]byte(chunk(`{"reasoning":"a","content":null}`) + "\n" + chunk(`{"reasoning":"b","content":null}`)))
	f.Add([]byte(`{"type":"content_block_delta","delta":{"text":"a"}}` + "\n" + `{"type":"content_block_delta","delta":{"text":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var events []string
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSuffix(line, "\n")
			// The same event with another text is what a Repeat looks for.
			events = append(events, line, strings.Replace(line, `"a"`, `"bc"`, 1), strings.Replace(line, `"b"`, `""`, 1), line)
		}
		for w := Chat; w <= Embeddings; w++ {
			both(t, w, w == Chat, events...)
		}
	})
}
