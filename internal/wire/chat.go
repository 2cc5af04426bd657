package wire

import "bytes"

// chat reads a chat completion, a FIM completion, or a chunk of one. API:
// https://api-docs.deepseek.com/api/create-chat-completion and …/create-completion.
func (a *Answer) chat(c *cursor, event bool) Signal {
	signal, n := Nothing, 0 // n: the number of choices
	failed, code, message, signs := false, value(nil), value(nil), signs{}
	var model, fingerprint value
	for c.open(); c.more('}'); {
		switch key := c.key(); string(key) {
		case "choices":
			if c.enter('[') {
				a.begun = true
				here := 0
				for ; c.more(']'); here++ {
					signal = max(signal, a.choice(c))
				}
				a.together = a.together || !event || here > 1
				a.indexed = a.indexed || a.together
				n += here
			}
		case "error":
			failed = c.value().isError() || failed
		case "code":
			code = c.value()
		case "message", "msg":
			message = c.value()
		case "usage":
			a.takeUsage(c)
		case "model":
			model = c.value()
		case "system_fingerprint":
			fingerprint = c.value()
		default:
			if !signs.take(key, c) {
				c.skip()
			}
		}
	}
	a.identify(c, model, fingerprint)
	if failed || n == 0 && (signs.failed || isFlatError(code, message, event)) {
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
				if carries(c, a.Transcript, a.Said) {
					signal = max(signal, Payload)
					parts++
				}
			case "text": // of a FIM completion
				if text := c.value(); text.isText() {
					signal = max(signal, Payload)
					a.Said.take([]byte("text"), text[1:len(text)-1])
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
	payload := signal == Payload
	ends := true
	switch end := kindOf(finish.text()); {
	case end == noEnd, end == otherEnd && !payload && !a.HasContent: // an unknown reason without any payload says nothing
		ends = false
	case end == outOfResources:
		signal, ends = OutOfResources, false
	case end == brokenEnd:
		signal, ends = max(signal, Failure), false
	case end == cutEnd, end == otherEnd:
		a.Partial = true
	}
	a.takeIndex(index, ends, payload)
	return signal
}

// An end is what a finish reason says.
type end uint8

const (
	noEnd          end = iota // there is no reason
	wholeEnd                  // the answer is whole
	cutEnd                    // it ended at its token limit, or by a filter
	otherEnd                  // a host's own reason
	brokenEnd                 // the host broke the answer off
	outOfResources            // the host broke the answer off because it lacks resources
)

// kindOf returns what a finish reason says.
func kindOf(reason []byte) end {
	switch string(reason) {
	case "", "null": // null may also come as a string
		return noEnd
	case "stop", "tool_calls", "function_call", "eos", "stop_sequence", "end_turn":
		return wholeEnd
	case "length", "max_tokens", "content_filter":
		return cutEnd
	case "insufficient_system_resource":
		return outOfResources
	}
	// OpenRouter says error, Zhipu network_error, vLLM and SGLang abort.
	reason = bytes.ToLower(reason)
	for _, word := range [...]string{"error", "abort", "cancel", "timeout", "timed_out", "fail", "interrupt", "unavailable", "overload"} {
		if bytes.Contains(reason, []byte(word)) {
			return brokenEnd
		}
	}
	return otherEnd
}
