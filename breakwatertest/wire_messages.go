package breakwatertest

import (
	"encoding/json"
	"strings"
)

// The Messages wire: an answer is a list of content blocks. A stream has events for
// each block's beginning, deltas and end.

// stopReasons maps finish reasons to Anthropic's stop reasons.
var stopReasons = map[string]string{"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}

func (a *answer) stopReason() string {
	if reason, ok := stopReasons[a.finish]; ok {
		return reason
	}
	return a.finish
}

func (a *answer) onMessages() *script {
	s := &script{
		json: a.messageJSON(),
		opening: []string{
			named("message_start", "message", a.message([]fields{}, nil, 0)),
			named("ping"),
		},
	}
	index := 0
	block := func(name string, more ...any) string {
		return named(name, append([]any{"index", index}, more...)...)
	}
	add := func(events ...string) { s.steps = append(s.steps, step{events: events}) }

	if len(a.reasoning) > 0 {
		add(block("content_block_start", "content_block", fields{"type", "thinking", "thinking", "", "signature", ""}))
		for _, piece := range a.reasoning {
			s.steps = append(s.steps, step{token: true, events: []string{
				block("content_block_delta", "delta", fields{"type", "thinking_delta", "thinking", piece}),
			}})
		}
		add(block("content_block_delta", "delta", fields{"type", "signature_delta", "signature", a.id}),
			block("content_block_stop"))
		index++
	}
	kind, field := "text_delta", "text"
	start := fields{"type", "text", "text", ""}
	if a.tool != "" {
		kind, field = "input_json_delta", "partial_json"
		start = fields{"type", "tool_use", "id", a.callID, "name", a.tool, "input", fields{}}
	}
	add(block("content_block_start", "content_block", start))
	says := func(_ int, piece string) string {
		return block("content_block_delta", "delta", fields{"type", kind, field, piece})
	}
	s.steps = append(s.steps, a.inTurns(says)...)
	s.empty = says(0, "")
	s.tail = []string{
		block("content_block_stop"),
		named("message_delta", "delta", fields{"stop_reason", a.stopReason(), "stop_sequence", nil},
			"usage", a.messageUsage(a.usage.CompletionTokens)),
		named("message_stop"),
	}
	return s
}

// message returns the answer with these content blocks. The wire has no field that
// tells hosts apart, so we add system_fingerprint.
func (a *answer) message(blocks []fields, stopReason any, tokens int) fields {
	return fields{
		"id", a.id, "type", "message", "role", "assistant", "model", a.model,
		"system_fingerprint", a.fingerprint, "content", blocks,
		"stop_reason", stopReason, "stop_sequence", nil, "usage", a.messageUsage(tokens),
	}
}

func (a *answer) messageUsage(tokens int) fields {
	return fields{
		"input_tokens", a.usage.PromptTokens - a.usage.CacheHitTokens, "cache_creation_input_tokens", 0,
		"cache_read_input_tokens", a.usage.CacheHitTokens, "output_tokens", tokens,
	}
}

func (a *answer) messageJSON() string {
	const place = "the arguments go here"
	var blocks []fields
	if len(a.reasoning) > 0 {
		blocks = append(blocks, fields{"type", "thinking", "thinking", a.thought(), "signature", a.id})
	}
	if a.tool == "" {
		blocks = append(blocks, fields{"type", "text", "text", a.said(0)})
	} else {
		blocks = append(blocks, fields{"type", "tool_use", "id", a.callID, "name", a.tool, "input", place})
	}
	// The input is an object, and json.Marshal would remove its spaces. So it is
	// inserted afterwards.
	return strings.Replace(a.message(blocks, a.stopReason(), a.usage.CompletionTokens).JSON(),
		`"`+place+`"`, a.said(0), 1)
}

// messageBody is a message as a client reads it.
type messageBody struct {
	ID                string `json:"id"`
	Model             string `json:"model"`
	SystemFingerprint string `json:"system_fingerprint"`
	Content           []struct {
		Type     string          `json:"type"`
		Text     string          `json:"text"`
		Thinking string          `json:"thinking"`
		Input    json.RawMessage `json:"input"`
	} `json:"content"`
	StopReason *string       `json:"stop_reason"`
	Usage      *messageUsage `json:"usage"`
}

type messageUsage struct {
	InputTokens  int `json:"input_tokens"`
	CacheRead    int `json:"cache_read_input_tokens"`
	OutputTokens int `json:"output_tokens"`
}

func (r *Reply) addMessage(text []byte) error {
	var m messageBody
	if err := json.Unmarshal(text, &m); err != nil {
		return noJSON(err)
	}
	r.addMessageHead(&m)
	for _, block := range m.Content {
		r.Reasoning += block.Thinking
		r.ToolArguments += string(block.Input)
		r.say(0, block.Text)
	}
	return nil
}

func (r *Reply) addMessageHead(m *messageBody) {
	r.ID, r.Model, r.Fingerprint = m.ID, m.Model, m.SystemFingerprint
	r.addMessageEnd(m.StopReason, m.Usage)
}

func (r *Reply) addMessageEnd(stopReason *string, u *messageUsage) {
	if stopReason != nil {
		r.FinishReason = *stopReason
		for finish, reason := range stopReasons {
			if reason == *stopReason {
				r.FinishReason = finish
			}
		}
	}
	if u != nil {
		prompt := u.InputTokens + u.CacheRead
		r.Usage = Usage{
			PromptTokens: prompt, CompletionTokens: u.OutputTokens, TotalTokens: prompt + u.OutputTokens,
			CacheHitTokens: u.CacheRead, CacheMissTokens: u.InputTokens,
		}
	}
}

// addMessageEvent adds an event of a stream.
func (r *Reply) addMessageEvent(name string, text []byte) error {
	var e struct {
		Message messageBody `json:"message"`
		Delta   struct {
			Text        string  `json:"text"`
			Thinking    string  `json:"thinking"`
			PartialJSON string  `json:"partial_json"`
			StopReason  *string `json:"stop_reason"`
		} `json:"delta"`
		Usage *messageUsage `json:"usage"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return noJSON(err)
	}
	switch name {
	case "message_start":
		r.addMessageHead(&e.Message)
	case "content_block_delta":
		r.say(0, e.Delta.Text)
		r.Reasoning += e.Delta.Thinking
		r.ToolArguments += e.Delta.PartialJSON
	case "message_delta":
		r.addMessageEnd(e.Delta.StopReason, e.Usage)
	case "message_stop":
		r.Done = true
	}
	return nil
}
