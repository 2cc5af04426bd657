package wire

import "bytes"

// chat reads a chat completion, a FIM completion, or a chunk of one. API:
// https://api-docs.deepseek.com/api/create-chat-completion and …/create-completion.
func (a *Answer) chat(c *cursor, event bool) Signal {
	signal, n := Nothing, 0 // n: the number of choices
	var top chatFrame
	for c.open(); c.more('}'); {
		switch key := c.key(); string(key) {
		case "choices":
			said, here := a.choices(c, event)
			signal, n = max(signal, said), n+here
		case "error":
			top.takeError(c.value())
		case "code":
			top.code = c.value()
		case "message", "msg":
			top.message = c.value()
		case "usage":
			a.takeUsage(c)
		case "finish_reason", "finishReason": // it belongs into a choice
			top.finish = c.value()
		case "model":
			top.model = c.value()
		case "system_fingerprint":
			top.fingerprint = c.value()
		default:
			if !top.signs.take(key, c) {
				c.skip()
			}
		}
	}
	a.identify(c, top.model, top.fingerprint)
	if top.finish.isText() && n <= 1 && a.begun {
		signal = a.reason(signal, int(a.last), top.finish)
	}
	switch {
	case top.failed, n == 0 && (top.signs.failed || isFlatError(top.code, top.message, event)):
		return Failure
	case event && n == 0:
		a.doubt(&top)
	}
	return signal
}

// A chatFrame is what stands around the choices.
type chatFrame struct {
	failed                     bool // there is an error
	hollow                     bool // there is one whose members say nothing
	signs                      signs
	code, message              value
	finish, model, fingerprint value
}

func (f *chatFrame) takeError(err value) {
	isError := err.isError()
	f.failed = f.failed || isError
	f.hollow = f.hollow || !isError && err.isFilled()
}

// doubt notes that an event without choices may be an error: its message has words, or its error
// has none.
func (a *Answer) doubt(f *chatFrame) {
	a.doubtful = a.doubtful || f.hollow || f.message.isText() && !f.message.isFine() && isProse(f.message)
}

// choices reads the list of choices, and returns how many there are.
func (a *Answer) choices(c *cursor, event bool) (signal Signal, n int) {
	if !c.enter('[') {
		return Nothing, 0
	}
	a.begun = true
	for ; c.more(']'); n++ {
		signal = max(signal, a.choice(c))
	}
	a.together = a.together || !event || n > 1
	a.indexed = a.indexed || a.together
	return signal, n
}

func (a *Answer) choice(c *cursor) Signal {
	signal, index, finish, parts, odd := Nothing, 0, value(nil), 0, a.beginOdd()
	if c.enter('{') {
		for c.more('}') {
			switch string(c.key()) {
			case "index":
				index = c.value().index()
			case "delta", "message":
				if carries(c, a.Transcript, a.Said, &odd) {
					signal = max(signal, Payload)
					parts++
				}
			case "text": // of a FIM completion
				if text := c.value(); text.isText() {
					signal = max(signal, Payload)
					a.Said.take([]byte("text"), text[1:len(text)-1])
					odd.say([]byte("text"), text)
					parts += 2 // a chat with such a text cannot be continued
				}
			case "finish_reason", "finishReason":
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
	a.Spoken = odd.spoken
	if a.Transcript != nil && (index != 0 || parts > 1) {
		a.Transcript.Other = true
	}
	if odd.failed {
		signal = Failure
	}
	if !finish.isText() {
		finish = odd.finish
	}
	return a.reason(signal, index, finish)
}

// reason reads the finish reason of a choice, and returns what the choice says with it. signal is
// what it says without.
func (a *Answer) reason(signal Signal, index int, finish value) Signal {
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
	if ends { // the calls that a reason promises were lost if there is no payload
		a.promised = kindOf(finish.text()) == callEnd && !payload && !a.HasContent
	}
	a.takeIndex(index, ends, payload)
	return signal
}

// An end is what a finish reason says.
type end uint8

const (
	noEnd          end = iota // there is no reason
	wholeEnd                  // the answer is whole
	callEnd                   // it is, with its tool calls
	cutEnd                    // it ended at its token limit, or by a filter
	otherEnd                  // a host's own reason
	brokenEnd                 // the host broke the answer off
	outOfResources            // the host broke the answer off because it lacks resources
)

// kindOf returns what a finish reason says.
func kindOf(reason []byte) end {
	if len(reason) == 0 {
		return noEnd
	}
	if end := namedEnd(reason); end != otherEnd {
		return end
	}
	reason = bytes.ToLower(reason[:min(len(reason), maxReason)])
	if end := namedEnd(reason); end != otherEnd {
		return end
	}
	// OpenRouter says error, Zhipu network_error, vLLM and SGLang abort.
	for _, word := range [...]string{"error", "abort", "cancel", "timeout", "timed_out", "fail", "interrupt", "unavailable", "overload"} {
		if bytes.Contains(reason, []byte(word)) {
			return brokenEnd
		}
	}
	return otherEnd
}

// maxReason is how much of a reason is read.
const maxReason = 256

// namedEnd returns what the name of a finish reason says. Gateways hand on those of other APIs.
func namedEnd(reason []byte) end {
	switch string(reason) {
	case "null": // also as a string
		return noEnd
	case "stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete", "completed", "normal":
		return wholeEnd
	case "tool_calls", "function_call", "tool_use":
		return callEnd
	case "length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "content_filter", "safety", "sensitive", "refusal":
		return cutEnd
	case "insufficient_system_resource":
		return outOfResources
	}
	return otherEnd
}
