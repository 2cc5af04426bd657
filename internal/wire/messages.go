package wire

// messagesEvent reads an event of a streamed message. API:
// https://docs.anthropic.com/en/docs/build-with-claude/streaming.
func (a *Answer) messagesEvent(c *cursor) Signal {
	var event members
	event.read(c)
	a.Transcript.takeMessages(c, &event)
	switch string(event.kind.text()) {
	case "message_start":
		a.begun = true
		a.identify(c, event.all.get("message", "model"), event.all.get("message", "system_fingerprint"))
		a.takeUsage(event.all.get("message", "usage").cursor())
		return Nothing
	case "content_block_start":
		return a.block(event.block)
	case "content_block_delta":
		if a.carries(event.delta) {
			return Payload
		}
		return Nothing
	case "message_delta":
		a.takeUsage(event.usage.cursor())
		return a.stop(event.all.get("delta", "stop_reason"), a.HasContent)
	case "message_stop":
		return Done
	case "ping":
		return KeepAlive
	case "error":
		return Failure
	}
	if event.err.isError() || len(event.kind.text()) == 0 && event.isFlatError(true) || isErrorName(event.kind.text()) {
		return Failure
	}
	return Nothing
}

// message reads a complete message.
func (a *Answer) message(c *cursor) Signal {
	var m members
	m.read(c)
	a.identify(c, m.model, m.fingerprint)
	switch {
	case isErrorName(m.kind.text()), m.err.isError(), !m.content.is('[') && m.isFlatError(false):
		return Failure
	case !m.content.is('['):
		return Nothing
	}
	a.begun = true
	a.takeUsage(m.usage.cursor())
	said, blocks := Nothing, m.content.cursor()
	for blocks.open(); blocks.more(']'); {
		said = max(said, a.block(blocks.value()))
	}
	return max(a.stop(m.stop, said == Payload), said)
}

// block returns the signal of the start of a content block: blocks of text or thinking
// start empty, blocks of a tool call name the tool.
func (a *Answer) block(b value) Signal {
	switch string(b.get("type").text()) {
	case "text", "thinking", "":
		if !a.carries(b) {
			return Nothing
		}
	case "redacted_thinking":
	default:
		a.Said.take(nil, nil)
		if a.Counts {
			a.Spoken = spokenIn(b, a.Spoken, maxSpokenDepth)
		}
	}
	return Payload
}

// carries reports whether a delta or a block carries payload.
func (a *Answer) carries(v value) bool {
	odd := a.beginOdd()
	found := carries(v.cursor(), nil, a.Said, &odd)
	a.Spoken = odd.spoken
	return found
}

// stop reads why a message stopped. said: it has content, so that no tool call was lost that the
// reason speaks of.
func (a *Answer) stop(reason value, said bool) Signal {
	end := kindOf(reason.text())
	a.promised = end == callEnd && !said || end == noEnd && a.promised
	switch end {
	case noEnd:
	case outOfResources:
		return OutOfResources
	case brokenEnd:
		return Failure
	case wholeEnd, callEnd:
		a.finish()
	default: // max_tokens, refusal, pause_turn
		a.Partial = true
		a.finish()
	}
	return Nothing
}
