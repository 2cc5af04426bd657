package wire

import (
	"fmt"
	"testing"
)

// A heard is a listener that notes what it hears.
type heard struct{ told []string }

func (h *heard) ServedBy(model, fingerprint []byte) {
	h.told = append(h.told, fmt.Sprintf("%s/%s", model, fingerprint))
}

// Each wire names its model where its API has it, in JSON and in the first events of a
// stream that have it.
func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wire  Wire
		event bool
		texts []string
		want  string
	}{
		{"chat", Chat, false, []string{`{"id":"1","model":"m","choices":[{"message":{"content":"x","model":"no"}}],"system_fingerprint":"fp"}`}, "[m/fp]"},
		{"FIM", Chat, false, []string{`{"model":"m","choices":[{"text":"x"}]}`}, "[m/]"},
		{"chat without either", Chat, false, []string{`{"choices":[{"message":{"content":"x"}}]}`}, "[]"},
		{"chat, null and empty", Chat, false, []string{`{"model":"","system_fingerprint":null,"choices":[{"message":{"content":"x"}}]}`}, "[]"},
		{"chat, no texts", Chat, false, []string{`{"model":{"model":"m"},"system_fingerprint":7,"choices":[{"message":{"content":"x"}}]}`}, "[]"},
		{"chat, escaped", Chat, false, []string{`{"model":"a\/b\u0020c","choices":[{"message":{"content":"x"}}]}`}, "[a/b c/]"},
		{"not JSON", Chat, false, []string{`{"model":"m","choices":[`, `{"model":"m"} x`}, "[]"},
		{"an error", Chat, false, []string{`{"model":"m","error":{"code":400}}`}, "[m/]"},
		{"chunks", Chat, true, []string{
			`{"model":"m","system_fingerprint":"fp","choices":[{"delta":{"role":"assistant"}}]}`,
			`{"model":"other","system_fingerprint":"other","choices":[{"delta":{"content":"x"}}]}`,
		}, "[m/fp]"},
		{"chunks, one after the other", Chat, true, []string{
			`{"choices":[{"delta":{"role":"assistant"}}]}`, `{"model":"m","choices":[{"delta":{"content":"x"}}]}`,
			`{"model":"m","system_fingerprint":"fp","choices":[{"delta":{"content":"x"}}]}`, `[DONE]`,
		}, "[m/ /fp]"},
		{"response", Responses, false, []string{`{"object":"response","model":"m","status":"completed","output":[],"system_fingerprint":"fp"}`}, "[m/fp]"},
		{"events of a response", Responses, true, []string{
			`{"type":"response.created","response":{"id":"1","model":"m","output":[]}}`, `{"type":"response.output_text.delta","delta":"x","model":"no"}`,
			`{"type":"response.completed","response":{"model":"other","status":"completed","output":[]}}`,
		}, "[m/]"},
		{"the last event of a response", Responses, true, []string{
			`{"type":"response.output_text.delta","delta":"x"}`, `{"type":"response.completed","response":{"model":"m","system_fingerprint":"fp","status":"completed","output":[]}}`,
		}, "[m/fp]"},
		{"message", Messages, false, []string{`{"type":"message","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn"}`}, "[m/]"},
		{"events of a message", Messages, true, []string{
			`{"type":"message_start","message":{"model":"m","content":[]}}`, `{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}`,
		}, "[m/]"},
		{"embeddings", Embeddings, false, []string{`{"object":"list","data":[{"embedding":[1]}],"model":"m"}`}, "[m/]"},
	} {
		h := &heard{}
		a := Answer{Wire: tt.wire, Listener: h}
		for _, text := range tt.texts {
			if tt.event {
				a.Event([]byte(text))
			} else {
				a.Text([]byte(text))
			}
		}
		if got := fmt.Sprint(h.told); got != tt.want {
			t.Errorf("%s: heard %s, want %s", tt.name, got, tt.want)
		}
	}
}

// A stream whose events repeat each other from the first one on is recognised as before.
func TestIdentity_OfEventsThatRepeat(t *testing.T) {
	const one = `{"model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}`
	lines := []byte("data: " + one + "\n\n")
	h, r := &heard{}, Repeat{}
	a := Answer{Listener: h}
	r.Event(&a, lines, lines[len("data: "):len(lines)-2])
	if n := r.Next(&a, lines); n != len(lines) || fmt.Sprint(h.told) != "[m/]" {
		t.Errorf("read %d bytes of the second event, want %d; heard %v", n, len(lines), h.told)
	}
}
