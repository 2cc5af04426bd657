package wire

// chat takes in a chat completion, a FIM completion, or a chunk of one.
// API: https://api-docs.deepseek.com/api/create-chat-completion and
// …/create-completion.
func (a *Answer) chat(c *cursor, event bool) Says {
	says := Nothing
	failed, code, message, choices := false, false, false, false
	for c.open(); c.more('}'); {
		switch string(c.key()) {
		case "choices":
			if c.enter('[') {
				choices, a.begun = true, true
				n := 0
				for ; c.more(']'); n++ {
					says = max(says, a.choice(c))
				}
				a.indexed = a.indexed || !event || n > 1
			}
		case "error":
			failed = c.value().isError() || failed
		case "code":
			code = c.value().isSet() || code
		case "message", "msg":
			message = c.value().isSet() || message
		case "usage":
			a.takeUsage(c)
		default:
			c.skip()
		}
	}
	// Flat errors have a code and a message where an answer has choices (SiliconFlow).
	if failed || code && message && !choices {
		return Failure
	}
	return says
}

func (a *Answer) choice(c *cursor) Says {
	says, index, finish, parts := Nothing, 0, value(nil), 0
	if c.enter('{') {
		for c.more('}') {
			switch string(c.key()) {
			case "index":
				index = c.value().index()
			case "delta", "message":
				if carries(c, a.Tape) {
					says = max(says, Payload)
					parts++
				}
			case "text": // of a FIM completion
				if c.value().isText() {
					says = max(says, Payload)
					parts += 2 // in a chat it is nothing to go on from
				}
			case "finish_reason":
				finish = c.value()
			case "error": // OpenRouter's, of one choice
				if c.value().isError() {
					says = Failure
				}
			default:
				c.skip()
			}
		}
	}
	if a.Tape != nil && (index != 0 || parts > 1) {
		a.Tape.Other = true
	}
	ends := true
	switch string(finish.text()) {
	case "", "null": // null as a text, too
		ends = false
	case "insufficient_system_resource":
		says, ends = OutOfResources, false
	case "error": // OpenRouter: the host behind it broke off
		says, ends = Failure, false
	case "stop", "tool_calls", "function_call", "eos", "stop_sequence", "end_turn":
	default: // length, content_filter, a host's own
		a.Partial = true
	}
	a.takeIndex(index, ends, says == Payload)
	return says
}
