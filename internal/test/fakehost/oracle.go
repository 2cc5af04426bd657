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
	text = lineFeeds.Replace(text)
	for _, block := range strings.Split(text, "\n\n") {
		values, done := valuesOf(block)
		if done {
			return true
		}
		for _, event := range eventsIn(values) {
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
				if ends(c) {
					ended = true
				} else if counts && speaks(c) {
					ended = false
				}
			}
			ended = ended || begun && event.Finish != ""
		}
	}
	return begun && ended
}

// An event is what a complete answer shows in.
type event struct {
	Type    string
	Choices []map[string]any
	Delta   json.RawMessage
	Finish  string `json:"finish_reason"`
}

// eventsIn returns the objects in texts that begin with them, also several in one text.
func eventsIn(texts []string) (all []event) {
	for _, text := range texts {
		for d := json.NewDecoder(strings.NewReader(text)); ; {
			var one event
			if d.Decode(&one) != nil {
				break
			}
			all = append(all, one)
		}
	}
	return all
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

// valuesOf returns what may be JSON in a block of lines, and whether it has the terminator.
func valuesOf(block string) (values []string, done bool) {
	var data []string
	for _, line := range strings.Split(block, "\n") {
		value, ok := strings.CutPrefix(line, "data:")
		for ok && strings.HasPrefix(strings.TrimSpace(value), "data:") {
			value = strings.TrimSpace(value)[len("data:"):]
		}
		if ok || strings.HasPrefix(line, "{") || strings.HasPrefix(line, "[") {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	for _, one := range append(data, strings.Join(data, "\n")) {
		done = done || strings.HasSuffix(one, "[DONE]")
		values = append(values, strings.Split(one, "data:")...)
	}
	return values, done
}

// ends reports whether a choice has a finish reason, wherever it stands.
func ends(choice map[string]any) bool {
	delta, _ := choice["delta"].(map[string]any)
	return has(choice, "finish_reason") || has(choice, "finishReason") || has(delta, "finish_reason") || has(delta, "finishReason")
}

func has(object map[string]any, name string) bool {
	text, _ := object[name].(string)
	return text != ""
}

// lineFeeds makes all line ends LFs.
var lineFeeds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// bare is text with LFs, without its comments, its blank lines and the blanks before it.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(lineFeeds.Replace(text)) {
		if line[0] != ':' && line != "\n" {
			b.WriteString(line)
		}
	}
	return strings.TrimLeft(b.String(), " \t\r\n")
}
