package wire

import "github.com/tidwall/gjson"

// chat takes in a chat completion, a FIM completion, or a chunk of one.
// API: https://api-docs.deepseek.com/api/create-chat-completion and
// …/create-completion.
func (a *Answer) chat(text gjson.Result) Says {
	says := Nothing
	failed, flat, choices := false, 0, false
	text.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "choices":
			if value.IsArray() {
				choices, a.begun = true, true
				value.ForEach(func(_, choice gjson.Result) bool {
					says = max(says, a.choice(choice))
					return true
				})
			}
		case "error":
			failed = failed || isError(value)
		case "code", "message":
			if value.Type != gjson.Null {
				flat++
			}
		case "usage":
			a.takeUsage(value)
		}
		return true
	})
	// Flat errors have a code and a message where an answer has choices (SiliconFlow).
	if failed || flat == 2 && !choices {
		return Failure
	}
	return says
}

func (a *Answer) choice(choice gjson.Result) Says {
	says, index, finish := Nothing, 0, ""
	choice.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "index":
			index = int(min(max(value.Num, 0), maxChoices-1))
		case "delta", "message":
			if carries(value.Raw) {
				says = max(says, Payload)
			}
		case "text": // of a FIM completion
			if value.Str != "" {
				says = max(says, Payload)
			}
		case "finish_reason":
			finish = value.Str
		case "error": // OpenRouter's, of one choice
			if isError(value) {
				says = Failure
			}
		}
		return true
	})
	a.seen.add(index)
	switch finish {
	case "":
	case "insufficient_system_resource":
		return OutOfResources
	case "error": // OpenRouter: the host behind it broke off
		return Failure
	default:
		a.finished.add(index)
		a.Length = a.Length || finish == "length"
	}
	return says
}
