package fakehost

import (
	"bytes"
	"encoding/json"
	"strings"
)

// IsComplete reports whether nothing is missing of a stream's answer, on any wire.
// It is a plain reader of streams, to hold ours against. One choice is asked for,
// so that another index than 0 shows that it is none.
func IsComplete(text string) bool {
	begun, ended, counts := false, false, false
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for _, block := range strings.Split(text, "\n\n") {
		var data []string
		for _, line := range strings.Split(block, "\n") {
			if value, ok := strings.CutPrefix(line, "data:"); ok {
				data = append(data, strings.TrimPrefix(value, " "))
			}
		}
		for _, one := range append(data, strings.Join(data, "\n")) {
			if one == "[DONE]" {
				return true
			}
			var event struct {
				Type    string
				Choices []map[string]any
				Delta   json.RawMessage
			}
			if json.NewDecoder(bytes.NewReader([]byte(one))).Decode(&event) != nil {
				continue
			}
			switch event.Type {
			case "message_stop", "response.completed", "response.incomplete":
				return true
			case "message_delta":
				if bytes.Contains(event.Delta, []byte(`stop_reason":"`)) {
					return true // all that is missing is the terminator
				}
			}
			for _, c := range event.Choices {
				index, _ := c["index"].(float64)
				if index >= 1 && !counts {
					counts, ended = true, false
				}
				begun = true
				if reason, _ := c["finish_reason"].(string); reason != "" {
					ended = true
				} else if counts && speaks(c) {
					ended = false
				}
			}
		}
	}
	return begun && ended
}

// speaks reports whether a choice of a chunk says anything.
func speaks(choice map[string]any) bool {
	text, _ := choice["text"].(string)
	delta, _ := choice["delta"].(map[string]any)
	content, _ := delta["content"].(string)
	return text != "" || content != ""
}

// IsClean reports whether text is one whole JSON object without an error.
func IsClean(text string) bool {
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return false
	}
	return object["error"] == nil || object["error"] == false
}

// Begins reports whether what was sent begins with got: nothing is missing up to
// its end, comments, blank lines and blanks before it aside.
func Begins(sent, got string) bool {
	return strings.HasPrefix(bare(sent), bare(got))
}

// bare is text without its comments, its blank lines and the blanks before it.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line[0] != ':' && line != "\n" && line != "\r\n" {
			b.WriteString(line)
		}
	}
	return strings.TrimLeft(b.String(), " \t\r\n")
}
