package wire

// chat reads a chat completion, a FIM completion, or a chunk of one. API:
// https://api-docs.deepseek.com/api/create-chat-completion and …/create-completion.
func (a *Answer) chat(c *cursor, event bool) Signal {
	signal := Nothing
	failed, code, message, choices := false, false, false, false
	var model, fingerprint value
	for c.open(); c.more('}'); {
		switch string(c.key()) {
		case "choices":
			if c.enter('[') {
				choices, a.begun = true, true
				n := 0
				for ; c.more(']'); n++ {
					signal = max(signal, a.choice(c))
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
		case "model":
			model = c.value()
		case "system_fingerprint":
			fingerprint = c.value()
		default:
			c.skip()
		}
	}
	a.identify(c, model, fingerprint)
	// A flat error has a code and a message in place of choices (SiliconFlow).
	if failed || code && message && !choices {
		return Failure
	}
	return signal
}

func (a *Answer) choice(c *cursor) Signal {
	signal, index, finish, parts := Nothing, 0, value(nil), 0
	if c.enter('{') {
		for c.more('}') {
			switch string(c.key()) {
			case "index":
				index = c.value().index()
			case "delta", "message":
				if carries(c, a.Transcript) {
					signal = max(signal, Payload)
					parts++
				}
			case "text": // of a FIM completion
				if c.value().isText() {
					signal = max(signal, Payload)
					parts += 2 // a chat with such a text cannot be continued
				}
			case "finish_reason":
				finish = c.value()
			case "error": // OpenRouter puts an error into a choice
				if c.value().isError() {
					signal = Failure
				}
			default:
				c.skip()
			}
		}
	}
	if a.Transcript != nil && (index != 0 || parts > 1) {
		a.Transcript.Other = true
	}
	ends := true
	switch string(finish.text()) {
	case "", "null": // null may also come as a string
		ends = false
	case "insufficient_system_resource":
		signal, ends = OutOfResources, false
	case "error": // OpenRouter: the host behind it broke the answer off
		signal, ends = Failure, false
	case "stop", "tool_calls", "function_call", "eos", "stop_sequence", "end_turn":
	default: // length, content_filter, a host's own reason
		a.Partial = true
	}
	a.takeIndex(index, ends, signal == Payload)
	return signal
}
