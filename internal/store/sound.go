package store

import (
	"bytes"

	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/wire"
	"github.com/tidwall/gjson"
)

// Sound reports whether an answer has what the request asked for: a vector for each input
// of embeddings, and valid JSON in the arguments of tool calls, which models do cut off.
// An answer that its caller will throw away is not worth keeping.
func Sound(w wire.Wire, inputs int, body []byte, streamed bool) bool {
	if w == wire.Embeddings {
		return gjson.GetBytes(body, "data.#").Int() == int64(inputs)
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
