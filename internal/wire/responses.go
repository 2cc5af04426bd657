package wire

import "bytes"

// responsesEvent reads an event of a streamed response. The stream has no [DONE]; its
// terminator is the event that says how the response ended. API:
// https://platform.openai.com/docs/api-reference/responses-streaming.
func (a *Answer) responsesEvent(c *cursor) Signal {
	var event members
	event.read(c)
	if event.response != nil && !a.hasModel {
		a.identify(c, event.response.get("model"), event.response.get("system_fingerprint"))
	}
	a.Transcript.takeResponses(c, &event)
	kind := event.kind.text()
	switch string(kind) {
	case "response.completed", "response.done", "response.incomplete", "response.failed", "response.cancelled":
		return a.responseEnds(event.response, string(kind))
	case "error", "response.error":
		return Failure
	case "keepalive", "ping", "response.queued", "response.in_progress":
		return KeepAlive
	case "response.output_item.done":
		// This is payload that came without deltas: a tool call, or a message in one
		// piece.
		a.Said.takeItem(event.item)
		a.sayAll(event.item)
		if carries(event.item.get("content", "0").cursor(), nil, nil, new(misplaced)) || event.item.get("arguments").isText() {
			return Payload
		}
		return Nothing
	}
	switch {
	case event.err.isError(), len(kind) == 0 && event.isFlatError(true), isErrorName(kind) && !bytes.HasPrefix(kind, []byte("response.")):
		return Failure
	case bytes.HasPrefix(kind, []byte("response.")):
		a.begun = true
	}
	a.Said.takeResponses(kind, &event)
	if event.delta.isText() {
		a.say(event.delta[1 : len(event.delta)-1])
	}
	if event.delta.isText() || event.text.isText() || event.arguments.isText() || event.refusal.isText() {
		return Payload
	}
	if tellsOfTool(kind, event.item) {
		return Work
	}
	return Nothing
}

// responseEnds reads the event that ends a response.
func (a *Answer) responseEnds(response value, kind string) Signal {
	signal := a.response(response.cursor())
	switch {
	case signal > Done:
		return signal
	case kind == "response.failed", kind == "response.cancelled":
		return Failure
	}
	a.begun = true
	a.Partial = a.Partial || kind == "response.incomplete"
	a.finish()
	return Done
}

// tellsOfTool reports whether an event tells of a tool that the host runs.
func tellsOfTool(kind []byte, item value) bool {
	if string(kind) == "response.output_item.added" {
		return isOwnTool(item.get("type").text())
	}
	tool, _, ok := bytes.Cut(bytes.TrimPrefix(kind, []byte("response.")), []byte("."))
	return ok && isOwnTool(tool)
}

// isOwnTool reports whether an item or an event is of a tool that the host runs, such as
// web_search_call. The caller runs the functions and the custom tools.
func isOwnTool(name []byte) bool {
	switch string(name) {
	case "function_call", "custom_tool_call", "local_shell_call", "computer_call", "apply_patch_call":
		return false
	case "mcp_list_tools", "code_interpreter_call_code":
		return true
	}
	return bytes.HasSuffix(name, []byte("_call"))
}

// response reads a complete response. One that is still processed in the background has no
// end yet.
func (a *Answer) response(c *cursor) Signal {
	var m members
	m.read(c)
	a.identify(c, m.model, m.fingerprint)
	a.takeUsage(m.usage.cursor())
	a.sayAll(m.output)
	status, incomplete := string(m.status.text()), noEnd
	if status == "incomplete" {
		incomplete = kindOf(m.all.get("incomplete_details", "reason").text())
	}
	switch {
	case status == "failed", status == "cancelled", m.err.isError():
		return Failure
	case status == "incomplete" && incomplete == outOfResources:
		return OutOfResources
	case status == "incomplete" && incomplete == brokenEnd:
		return Failure
	case status == "completed":
		a.finish()
	case status == "incomplete":
		a.Partial = true
		a.finish()
	case !m.output.is('[') && m.isFlatError(false):
		return Failure
	}
	a.Accepted = status == "queued" || status == "in_progress"
	if status == "" && !m.output.is('[') {
		return Nothing
	}
	a.begun = true
	if a.finished != (set{}) && !m.output.isFilled() {
		return Nothing
	}
	return Payload // also of a response that is processed in the background
}

// takeResponses records an event of a streamed response.
func (s *Said) takeResponses(kind []byte, event *members) {
	if s == nil {
		return
	}
	reasoning := bytes.Contains(kind, []byte("reasoning"))
	switch d, t := event.delta, event.text; {
	case d.isText() && reasoning:
		s.Reasoning = append(s.Reasoning, d[1:len(d)-1]...)
	case d.isText() && string(kind) == "response.output_text.delta":
		s.Text = append(s.Text, d[1:len(d)-1]...)
	case t.isText() && string(kind) == "response.output_text.done":
		s.Whole = append(s.Whole, t[1:len(t)-1]...)
	case d.isText() || event.arguments.isText() || event.refusal.isText():
		s.Other = true
	}
}

// takeItem records an item of a response's output that is complete.
func (s *Said) takeItem(item value) {
	if s == nil {
		return
	}
	switch string(item.get("type").text()) {
	case "reasoning":
	case "message":
		part := item.get("content", "0")
		if t := part.get("text"); t.isText() && len(s.Whole) == 0 {
			s.Whole = append(s.Whole, t[1:len(t)-1]...)
		}
		s.Other = s.Other || part.get("refusal").isText()
	default: // a tool call
		s.Other = true
	}
}
