package breakwatertest

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// A question holds the values that a host reads from a request for an answer, on any
// wire.
type question struct {
	wire     Wire
	model    string
	prompt   string // the last user message
	stream   bool
	ownUsage bool   // stream_options.include_usage
	thinking string // "enabled" or "disabled"; "": the request does not say
	tool     string // the name of the tool to call; "": none
	choices  int
	tokens   int    // the tokens of all messages
	prefixed bool   // the last message is the beginning of the answer
	prefix   string // that beginning
}

// asked has the JSON members of all wires. Their names do not collide.
type asked struct {
	Model         string          `json:"model"`
	Stream        bool            `json:"stream"`
	Messages      []message       `json:"messages"`
	Prompt        json.RawMessage `json:"prompt"`
	Suffix        string          `json:"suffix"`
	Input         json.RawMessage `json:"input"`
	N             int             `json:"n"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Thinking struct {
		Type string `json:"type"`
	} `json:"thinking"`
	Reasoning struct {
		Effort string `json:"effort"`
	} `json:"reasoning"`
	Tools []struct {
		Name     string `json:"name"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	} `json:"tools"`
}

type message struct {
	Type    string          `json:"type"`
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
	Prefix  json.RawMessage `json:"prefix"` // raw, because most hosts ignore it
}

type contentPart struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// question reads a request's body. It returns nil if the body is not valid on the
// wire.
func (w Wire) question(body []byte) *question {
	var a asked
	if json.Unmarshal(body, &a) != nil {
		return nil
	}
	switch w {
	case Completions:
		a.Messages = nil
		if text, ok := textOf(a.Prompt); ok {
			a.Messages = []message{{Role: "user", Content: quote(text)}}
		}
		a.Tools = nil
		a.Thinking.Type = "disabled" // this wire has no field for reasoning
	case Responses:
		a.Messages = inputOf(a.Input)
		a.N = 1
		if a.Thinking.Type == "" && a.Reasoning.Effort != "" {
			a.Thinking.Type = "enabled"
			if a.Reasoning.Effort == "none" {
				a.Thinking.Type = "disabled"
			}
		}
	case Messages:
		a.N = 1
	}
	if len(a.Messages) == 0 {
		return nil
	}
	q := &question{
		wire: w, model: a.Model, stream: a.Stream, ownUsage: a.StreamOptions.IncludeUsage,
		thinking: a.Thinking.Type, choices: min(max(1, a.N), 128),
		tokens: utf8.RuneCountInString(a.Suffix) / 4,
	}
	for _, m := range a.Messages {
		if m.Role == "user" && !m.isResult() {
			q.prompt = m.text()
		}
		q.tokens += utf8.RuneCountInString(m.text())/4 + 1
	}
	last := a.Messages[len(a.Messages)-1]
	if w == Chat && last.isPrefix() {
		q.prefixed, q.prefix = true, last.text()
	}
	// After a tool's result the answer is text. Otherwise a client that runs tools
	// would never finish.
	if len(a.Tools) > 0 && !last.isResult() {
		q.tool = a.Tools[0].Name + a.Tools[0].Function.Name // one of them is empty
	}
	return q
}

func (q *question) thinks(d Dialect) bool {
	if d.row().Thinks {
		return q.thinking != "disabled"
	}
	return q.thinking == "enabled"
}

// inputOf returns the input of a Responses request, which is a text or items.
func inputOf(raw json.RawMessage) []message {
	if text := unquote(raw); text != "" {
		return []message{{Role: "user", Content: raw}}
	}
	var items []message
	if json.Unmarshal(raw, &items) != nil {
		return nil
	}
	return items
}

// text returns the content, which is a string or a list of parts.
func (m message) text() string {
	text, _ := textOf(m.Content)
	return text
}

// isResult reports whether the message is the result of a tool.
func (m message) isResult() bool {
	if m.Role == "tool" || m.Type == "function_call_output" {
		return true
	}
	var parts []contentPart
	return json.Unmarshal(m.Content, &parts) == nil && len(parts) > 0 && parts[0].Type == "tool_result"
}

// textOf returns the text of a string, of several strings, or of content parts.
func textOf(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, string(raw) != "null"
	}
	var several []string
	if json.Unmarshal(raw, &several) == nil {
		return strings.Join(several, ""), len(several) > 0
	}
	var parts []contentPart
	if json.Unmarshal(raw, &parts) != nil {
		return "", false
	}
	for _, part := range parts {
		text += part.Text
	}
	return text, true
}
