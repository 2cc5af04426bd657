package wire

import (
	"strings"

	"github.com/tidwall/gjson"
)

// responsesEvent takes in an event of a streamed response. The stream has no
// [DONE]: the event that says how the response ended is the terminator.
// API: https://platform.openai.com/docs/api-reference/responses-streaming.
func (a *Answer) responsesEvent(event gjson.Result) Says {
	kind := event.Get("type").Str
	switch kind {
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		says := a.response(event.Get("response"))
		switch {
		case says > Done:
			return says
		case kind == "response.failed", kind == "response.cancelled":
			return Failure
		}
		a.begun = true
		a.Length = a.Length || kind == "response.incomplete"
		a.finish()
		return Done
	case "error":
		return Failure
	case "keepalive", "ping", "response.queued", "response.in_progress":
		return Alive
	case "response.output_item.done":
		// Payload where no delta told of it before: a tool call, a message in one piece.
		item := event.Get("item")
		if carries(item.Get("content.0").Raw) || item.Get("arguments").Str != "" {
			return Payload
		}
		return Nothing
	}
	switch {
	case isError(event.Get("error")):
		return Failure
	case strings.HasPrefix(kind, "response."):
		a.begun = true
	}
	for _, name := range [...]string{"delta", "text", "arguments", "refusal"} {
		if value := event.Get(name); value.Type == gjson.String && value.Raw != `""` {
			return Payload
		}
	}
	return Nothing
}

// response takes in a response as a whole. One that is still to be worked on,
// in the background, has no end yet.
func (a *Answer) response(text gjson.Result) Says {
	a.takeUsage(text.Get("usage"))
	status := text.Get("status").Str
	switch {
	case status == "failed", isError(text.Get("error")):
		return Failure
	case status == "incomplete" && text.Get("incomplete_details.reason").Str == "insufficient_system_resource":
		return OutOfResources
	case status == "completed":
		a.finish()
	case status == "incomplete":
		a.Length = true
		a.finish()
	case !text.Get("output").IsArray() && isFlatError(text):
		return Failure
	}
	if status == "" && !text.Get("output").IsArray() {
		return Nothing
	}
	a.begun = true
	return Payload
}

// isFlatError reports whether code and message stand where an answer should.
func isFlatError(text gjson.Result) bool {
	code, message := text.Get("code"), text.Get("message")
	return code.Exists() && code.Type != gjson.Null && message.Exists() && message.Type != gjson.Null
}
