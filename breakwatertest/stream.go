package breakwatertest

import "strings"

const keepAliveComment = ": keep-alive\n\n"

func (x *exchange) serveStream() {
	a := x.answer()
	x.begin(keepAliveComment)

	first := a.chunk(a.roleDelta(), "")
	switch x.fault.kind {
	case kindErrorInside:
		x.done()
		x.send(event(x.fault.status(x.s.host.Dialect).body))
		return
	case kindCutJSON:
		x.done()
		x.send("data: " + first[:len(first)/2])
		return
	case kindMalformedJSON:
		x.done()
		x.send(event(malformed(first)))
		return
	}
	x.send(event(first))
	if x.fault.kind == kindSilence {
		x.hang()
	}
	if x.fault.after <= 0 && x.endMidway() {
		return
	}
	for _, piece := range a.reasoning {
		x.send(event(a.chunk(content{Content: null, ReasoningContent: quote(piece)}, "")))
		x.wait(x.pace.PerToken)
	}
	if a.tool != "" {
		x.send(event(a.chunk(a.callDelta(), "")))
	}
	for i, piece := range a.pieces {
		if i == x.fault.after && x.endMidway() {
			return
		}
		x.send(event(a.chunk(a.delta(piece), "")))
		x.wait(x.pace.PerToken)
	}
	// All that is left of a fault between the deltas comes before the finish.
	if x.endMidway() {
		return
	}
	tail := a.tail(x.chat.StreamOptions.IncludeUsage)
	if x.fault.kind != kindNoDone {
		tail = append(tail, event("[DONE]"))
	}
	for i, e := range tail {
		if i == len(tail)-1 {
			x.done()
		}
		x.send(e)
	}
}

// endMidway acts out the faults between deltas, if there is one, and reports
// whether the answer ends here.
func (x *exchange) endMidway() bool {
	switch x.fault.kind {
	case kindCutStream:
		x.done()
		x.abort()
	case kindEndStream:
		x.done()
		return true
	case kindStallStream:
		x.hang()
	case kindStallKeepAlive:
		x.keepAliveForever(keepAliveComment)
	case kindErrorFrame:
		x.done()
		x.send(event(serverError.body(DialectDeepSeek)))
		return true
	}
	return false
}

func event(data string) string { return "data: " + data + "\n\n" }

func (a *answer) roleDelta() content {
	if len(a.reasoning) > 0 {
		return content{Role: "assistant", Content: null, ReasoningContent: quote("")}
	}
	return content{Role: "assistant", Content: quote("")}
}

// callDelta announces the tool call, whose arguments follow in pieces.
func (a *answer) callDelta() content {
	call := toolCall{ID: a.callID, Type: "function"}
	call.Function.Name = a.tool
	return content{ToolCalls: []toolCall{call}}
}

func (a *answer) delta(piece string) content {
	switch {
	case a.tool != "":
		var call toolCall
		call.Function.Arguments = piece
		return content{ToolCalls: []toolCall{call}}
	case len(a.reasoning) > 0:
		return content{Content: quote(piece), ReasoningContent: null}
	}
	return content{Content: quote(piece)}
}

// chunk says the same for every choice, one chunk each; they go out together.
func (a *answer) chunk(d content, finish string) string {
	var each []string
	for i := range a.choices {
		each = append(each, mustJSON(a.part(i, d, finish, nil)))
	}
	return strings.Join(each, "\n\ndata: ")
}

func (a *answer) part(index int, d content, finish string, u *usage) completion {
	c := a.completion
	c.Object, c.Usage = "chat.completion.chunk", u
	one := choice{Index: index, Delta: &d}
	if finish != "" {
		one.FinishReason = &finish
	}
	c.Choices = []choice{one}
	return c
}

// tail is the events behind the last delta: the finish of every choice, with
// the usage on the last one or, if asked for, in a chunk of its own.
func (a *answer) tail(ownUsage bool) []string {
	end := content{Content: quote("")}
	if len(a.reasoning) > 0 {
		end.ReasoningContent = null
	}
	var events []string
	for i := range a.choices {
		var u *usage
		if i == a.choices-1 && !ownUsage {
			u = &a.usage
		}
		events = append(events, event(mustJSON(a.part(i, end, a.finish, u))))
	}
	if ownUsage {
		c := a.completion
		c.Object, c.Choices, c.Usage = "chat.completion.chunk", []choice{}, &a.usage
		events = append(events, event(mustJSON(c)))
	}
	return events
}
