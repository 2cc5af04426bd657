package store

import (
	"bytes"
	"strings"

	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/wire"
	"github.com/tidwall/gjson"
)

// Sound reports whether an answer has what the request asked for: a vector for each input
// of embeddings, something besides blanks and reasoning, and valid JSON in the arguments of
// tool calls, which models do cut off. An answer that its caller will throw away is not worth
// keeping.
func Sound(w wire.Wire, inputs int, body []byte, streamed bool) bool {
	switch {
	case w == wire.Embeddings:
		return gjson.GetBytes(body, "data.#").Int() == int64(inputs)
	case !answers(body, streamed):
		return false
	}
	if !bytes.Contains(body, []byte(`"arguments"`)) && !bytes.Contains(body, []byte(`"input_json_delta"`)) {
		return true
	}
	if streamed {
		var ok bool
		if body, ok = recast.ToJSON(w, body); !ok {
			return false
		}
	}
	list, paths := "choices", []string{"message.tool_calls.#.function.arguments", "message.function_call.arguments"}
	if w == wire.Responses {
		list, paths = "output", []string{"arguments"}
	}
	sound := true
	check := func(_, arguments gjson.Result) bool {
		sound = sound && (arguments.Str == "" || wire.Valid([]byte(arguments.Str)))
		return sound
	}
	gjson.GetBytes(body, list).ForEach(func(_, item gjson.Result) bool {
		for _, path := range paths {
			item.Get(path).ForEach(check) // ForEach visits a single text, too
		}
		return sound
	})
	return sound
}

// Accepted reports whether a body says that a response is made in the background. Its id is
// all that its caller needs.
func Accepted(w wire.Wire, body []byte) bool {
	status := gjson.GetBytes(body, "status").Str
	return w == wire.Responses && (status == "queued" || status == "in_progress")
}

// answers reports whether an answer to a chat or a prompt has anything besides blanks and
// reasoning.
func answers(body []byte, streamed bool) bool {
	if !streamed {
		return speaks(gjson.ParseBytes(body))
	}
	for line := range bytes.Lines(body) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && speaks(gjson.ParseBytes(data)) {
			return true
		}
	}
	return false
}

// speaks reports whether a document or an event of any wire has a text that is not blank, or a
// tool call.
func speaks(from gjson.Result) bool {
	kind := from.Get("type").Str
	switch {
	case from.Get("choices").Exists(): // Chat
		return some(from.Get("choices"), func(choice gjson.Result) bool {
			return isSolid(choice.Get("text")) || isSolid(choice.Get("delta")) || isSolid(choice.Get("message"))
		})
	case from.Get("output").IsArray(): // Responses
		return some(from.Get("output"), isSolid)
	case strings.HasPrefix(kind, "response.reasoning"):
		return false
	case strings.HasPrefix(kind, "response."):
		return isSolid(from.Get("delta")) || isSolid(from.Get("text")) || isSolid(from.Get("arguments")) || isSolid(from.Get("item"))
	case kind == "content_block_start": // Messages
		return isSolid(from.Get("content_block"))
	case kind == "content_block_delta":
		return isSolid(from.Get("delta"))
	}
	return some(from.Get("content"), isSolid)
}

// maxDepth is how many levels of a part are looked into. Each level is read once for each
// level above it, and no answer has its text deeper.
const maxDepth = 12

// isSolid reports whether a part of an answer has more than blanks and reasoning. What only
// describes it does not count.
func isSolid(part gjson.Result) bool { return isSolidWithin(part, maxDepth) }

func isSolidWithin(part gjson.Result, depth int) bool {
	if depth == 0 {
		return true
	}
	kind := part.Get("type").Str
	switch {
	case part.Type == gjson.String:
		return strings.TrimSpace(part.Str) != ""
	case part.IsArray():
		return some(part, func(element gjson.Result) bool { return isSolidWithin(element, depth-1) })
	case !part.IsObject(), kind == "reasoning", kind == "thinking", kind == "redacted_thinking", kind == "thinking_delta", kind == "signature_delta":
		return false
	case strings.HasSuffix(kind, "_call"), strings.HasSuffix(kind, "tool_use"), kind == "input_json_delta":
		return true
	}
	solid := false
	part.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "role", "type", "id", "status", "name", "phase", "index", "reasoning", "reasoning_content", "reasoning_details", "annotations":
			return true
		case "tool_calls", "function_call":
			solid = value.IsObject() || value.Get("0").Exists()
			return !solid
		}
		solid = isSolidWithin(value, depth-1)
		return !solid
	})
	return solid
}

// some reports whether a list has an element of that kind.
func some(list gjson.Result, is func(gjson.Result) bool) bool {
	found := false
	if list.IsArray() {
		list.ForEach(func(_, element gjson.Result) bool {
			found = is(element)
			return !found
		})
	}
	return found
}
