package wire

import "github.com/tidwall/gjson"

// messagesEvent takes in an event of a streamed message.
// API: https://docs.anthropic.com/en/docs/build-with-claude/streaming.
func (a *Answer) messagesEvent(event gjson.Result) Says {
	switch event.Get("type").Str {
	case "message_start":
		a.begun = true
		a.takeUsage(event.Get("message.usage"))
		return Nothing
	case "content_block_start":
		return block(event.Get("content_block"))
	case "content_block_delta":
		if carries(event.Get("delta").Raw) {
			return Payload
		}
		return Nothing
	case "message_delta":
		a.takeUsage(event.Get("usage"))
		return a.stop(event.Get("delta.stop_reason").Str)
	case "message_stop":
		return Done
	case "ping":
		return Alive
	case "error":
		return Failure
	}
	if isError(event.Get("error")) || isFlatError(event) {
		return Failure
	}
	return Nothing
}

// message takes in a message as a whole.
func (a *Answer) message(text gjson.Result) Says {
	content := text.Get("content")
	switch {
	case text.Get("type").Str == "error", isError(text.Get("error")), !content.IsArray() && isFlatError(text):
		return Failure
	case !content.IsArray():
		return Nothing
	}
	a.begun = true
	a.takeUsage(text.Get("usage"))
	return max(a.stop(text.Get("stop_reason").Str), Payload)
}

// block says what the start of a content block carries: that of a text or of
// thinking is empty, that of a tool call names the tool.
func block(b gjson.Result) Says {
	switch b.Get("type").Str {
	case "text", "thinking", "":
		if !carries(b.Raw) {
			return Nothing
		}
	}
	return Payload
}

func (a *Answer) stop(reason string) Says {
	switch reason {
	case "":
	case "insufficient_system_resource":
		return OutOfResources
	default:
		a.Length = a.Length || reason == "max_tokens" || reason == "model_context_window_exceeded"
		a.finish()
	}
	return Nothing
}
