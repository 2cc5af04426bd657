package flaw

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// Whole returns an error if a complete answer in one piece is flawed. It checks each choice.
// partial: a choice was cut, as the host says.
func Whole(rules Rules, w wire.Wire, body []byte, partial bool) (err error) {
	answer := gjson.ParseBytes(body)
	switch w {
	case wire.Chat:
		answer.Get("choices").ForEach(func(_, choice gjson.Result) bool {
			c := New(rules)
			c.choice(choice)
			err = c.End(partial)
			return err == nil
		})
	case wire.Responses:
		c := New(rules)
		answer.Get("output").ForEach(c.item)
		err = c.End(partial)
	case wire.Messages:
		c := New(rules)
		answer.Get("content").ForEach(c.part)
		err = c.End(partial)
	}
	return err
}

// choice reads a choice of a chat or FIM completion.
func (c *Checker) choice(choice gjson.Result) {
	if text := choice.Get("text"); text.Type == gjson.String {
		c.speak(text)
	}
	message := choice.Get("message")
	message.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "role", "reasoning_details", "annotations", "name":
		case "reasoning_content", "reasoning":
			if len(c.Said.Reasoning) == 0 { // some hosts give it twice
				c.reason(value)
			}
		case "content":
			if value.Type == gjson.String {
				c.speak(value)
			} else {
				value.ForEach(c.part)
			}
		default: // a tool call, a refusal
			c.Said.Other = c.Said.Other || isFilled(value)
		}
		return true
	})
}

// item reads an item of a response's output.
func (c *Checker) item(_, item gjson.Result) bool {
	switch item.Get("type").Str {
	case "reasoning":
		item.Get("summary").ForEach(c.part)
		item.Get("content").ForEach(c.part)
	case "message":
		item.Get("content").ForEach(c.part)
	default: // a tool call
		c.Said.Other = true
	}
	return true
}

// part reads a part of a message.
func (c *Checker) part(_, part gjson.Result) bool {
	switch part.Get("type").Str {
	case "text", "output_text", "":
		c.speak(part.Get("text"))
	case "thinking":
		c.reason(part.Get("thinking"))
	case "reasoning_text", "summary_text":
		c.reason(part.Get("text"))
	case "redacted_thinking":
	default: // a tool call, a refusal
		c.Said.Other = true
	}
	return true
}

func (c *Checker) speak(text gjson.Result) {
	c.Said.Text = append(c.Said.Text, inside(text)...)
}

func (c *Checker) reason(text gjson.Result) {
	c.Said.Reasoning = append(c.Said.Reasoning, inside(text)...)
}

// inside returns what is between the quotes of a string.
func inside(text gjson.Result) string {
	if text.Type != gjson.String {
		return ""
	}
	return text.Raw[1 : len(text.Raw)-1]
}

// isFilled reports whether a value says anything.
func isFilled(value gjson.Result) bool {
	switch {
	case value.Type == gjson.String:
		return value.Str != ""
	case value.IsArray(), value.IsObject():
		return len(bytes.TrimSpace([]byte(value.Raw[1:len(value.Raw)-1]))) > 0
	}
	return false
}
