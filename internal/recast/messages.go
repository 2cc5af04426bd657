package recast

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// A message is built from its events: the frame, the content block by block, the end. API:
// https://docs.anthropic.com/en/docs/build-with-claude/streaming.
type message struct {
	object
	content content
	begun   bool
}

func (m *message) take(event gjson.Result) bool {
	kind := event.Get("type").Str
	if (kind == "message_start") == m.begun {
		return false
	}
	switch kind {
	case "message_start":
		m.begun = true
		m.object.of = m.part
		said := event.Get("message")
		return said.IsObject() && m.add(said)
	case "content_block_start":
		return m.content.start(event)
	case "content_block_delta":
		b := m.content.block(event)
		return b != nil && b.grow(event.Get("delta"))
	case "content_block_stop":
		return m.content.block(event) != nil
	case "message_delta":
		return m.end(event)
	}
	return kind == "message_stop"
}

func (m *message) part(name string) part {
	switch name {
	case "content":
		return &m.content
	case "usage":
		return &object{of: func(string) part { return new(value) }}
	}
	return new(value)
}

// end reads how the message ended, and what is said with it.
func (m *message) end(event gjson.Result) bool {
	ok := true
	event.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "type":
		case "delta":
			ok = m.add(v)
		default:
			one := m.member(key.Str, key.Raw)
			ok = one != nil && one.part.add(v)
		}
		return ok
	})
	return ok
}

func (m *message) json() ([]byte, bool) {
	for _, b := range m.content.blocks {
		if !b.close() {
			return nil, false
		}
	}
	if m.member("content", `"content"`) == nil {
		return nil, false
	}
	return m.appendTo(nil), true
}

// A content is the content of a message. The frame has none yet.
type content struct{ blocks []*block }

func (c *content) add(said gjson.Result) bool {
	return said.Type == gjson.Null || said.IsArray() && isEmpty(said.Raw)
}

func (c *content) start(event gjson.Result) bool {
	i, ok := index(event.Get("index"), math.MaxInt32)
	said := event.Get("content_block")
	if !ok || i != len(c.blocks) || !said.IsObject() {
		return false
	}
	b := &block{object: object{of: partOfBlock}}
	c.blocks = append(c.blocks, b)
	return b.add(said)
}

// block returns the block of an event, or nil if that has not begun.
func (c *content) block(event gjson.Result) *block {
	i, ok := index(event.Get("index"), len(c.blocks))
	if !ok {
		return nil
	}
	return c.blocks[i]
}

func (c *content) appendTo(text []byte) []byte {
	text = append(text, '[')
	for i, b := range c.blocks {
		if i > 0 {
			text = append(text, ',')
		}
		text = b.appendTo(text)
	}
	return append(text, ']')
}

// A block is a block of a message's content.
type block struct {
	object
	input *value // of a tool call: JSON in a string
}

func partOfBlock(name string) part {
	switch name {
	case "text", "thinking", "citations":
		return &value{rule: textsGrow}
	}
	return new(value)
}

// grow adds a delta.
func (b *block) grow(delta gjson.Result) bool {
	switch delta.Get("type").Str {
	case "text_delta":
		return b.growBy("text", delta.Get("text"))
	case "thinking_delta":
		return b.growBy("thinking", delta.Get("thinking"))
	case "signature_delta":
		return b.growBy("signature", delta.Get("signature"))
	case "citations_delta":
		citation, citations := delta.Get("citation"), b.member("citations", `"citations"`)
		return citation.Exists() && citations != nil && citations.part.add(gjson.Parse("["+citation.Raw+"]"))
	case "input_json_delta":
		if b.input == nil {
			b.input = &value{rule: textsGrow}
		}
		said := delta.Get("partial_json")
		return said.Type == gjson.String && b.input.add(said)
	}
	return false
}

func (b *block) growBy(name string, said gjson.Result) bool {
	m := b.member(name, `"`+name+`"`)
	return m != nil && said.Type == gjson.String && m.part.add(said)
}

// close stores the input of a tool call; a missing one is an empty object.
func (b *block) close() bool {
	if b.input == nil {
		return true
	}
	m := b.member("input", `"input"`)
	if m == nil {
		return false
	}
	input := gjson.ParseBytes(b.input.appendTo(nil)).Str
	switch {
	case input != "":
		// Text that is not JSON could close the block and add anything.
		return json.Valid([]byte(input)) && gjson.Parse(input).IsObject() && m.part.add(gjson.Parse(input))
	case m.part.(*value).isUnsaid():
		return m.part.add(gjson.Parse("{}"))
	}
	return true
}

// streamMessage writes a message. Its usage is at both ends, where clients look for the
// tokens read and the tokens written.
func streamMessage(to *stream, body gjson.Result) bool {
	all, ok := fieldsOf(body)
	if !ok || !areParts(all, "usage") {
		return false
	}
	begun := all.with("content", "[]").with("stop_reason", "null").with("stop_sequence", "null")
	to.named("message_start", `,"message":`, begun.json())
	for i, text := range all.list("content") {
		if !streamBlock(to, strconv.Itoa(i), text) {
			return false
		}
	}
	usage := ""
	if said := all.get("usage"); said != "" {
		usage = `,"usage":` + said
	}
	to.named("message_delta", `,"delta":`, all.only("stop_reason", "stop_sequence").json(), usage)
	to.named("message_stop")
	return true
}

// streamBlock writes a content block. Blocks of types without deltas, such as the results
// of a host's own tools, are complete at their start.
func streamBlock(to *stream, index string, text gjson.Result) bool {
	block, ok := fieldsOf(text)
	if !ok {
		return false
	}
	start := func(begun fields) {
		to.named("content_block_start", `,"index":`, index, `,"content_block":`, begun.json())
	}
	delta := func(kind, name, raw string) {
		to.named("content_block_delta", `,"index":`, index, `,"delta":{"type":"`, kind, `","`, name, `":`, raw, "}")
	}
	grow := func(kind, name, text string) {
		for piece := range pieces(text) {
			delta(kind, name, `"`+piece+`"`)
		}
	}
	switch kind := block.text("type"); {
	case kind == "text" && isString(block.get("text")):
		begun := block.with("text", `""`)
		if isList(block.get("citations")) {
			begun = begun.with("citations", "[]")
		}
		start(begun)
		grow("text_delta", "text", block.get("text"))
		for _, citation := range block.list("citations") {
			delta("citations_delta", "citation", citation.Raw)
		}
	case kind == "thinking" && isString(block.get("thinking")):
		begun := block.with("thinking", `""`)
		signature := block.get("signature")
		if isString(signature) {
			begun = begun.with("signature", `""`)
		}
		start(begun)
		grow("thinking_delta", "thinking", block.get("thinking"))
		if isString(signature) { // in one piece, because clients keep only the last one
			delta("signature_delta", "signature", signature)
		}
	case strings.HasSuffix(kind, "tool_use") && isObject(block.get("input")):
		start(block.with("input", "{}"))
		grow("input_json_delta", "partial_json", quote(block.get("input")))
	default:
		start(block)
	}
	to.named("content_block_stop", `,"index":`, index)
	return true
}
