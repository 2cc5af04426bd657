package breakwatertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A Reply is an answer as a simple client reads it, of any wire, with the field
// names of chat completions. If there are several choices, it has the first.
type Reply struct {
	Content, Reasoning, ToolArguments string
	FinishReason                      string
	Model, Fingerprint, ID            string
	Usage                             Usage
	// Choices are the contents of all choices, by index.
	Choices []string
	// Done reports whether the stream's last event has come, such as [DONE], or all
	// of the JSON.
	Done bool
}

// Usage is the number of tokens that an answer reports. Messages does not report
// ReasoningTokens.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CacheHitTokens, CacheMissTokens             int
	ReasoningTokens                             int
}

// A StatusError is the error of a response whose status is not 2xx.
type StatusError struct {
	Code int
	Body string
}

// Error returns a text with the status and the body.
func (e *StatusError) Error() string {
	return fmt.Sprintf("breakwatertest: status %d: %q", e.Code, e.Body)
}

// ReadAnswer reads an answer of any wire and closes the body. The Content-Type says
// whether it is JSON or a stream. It returns a [*StatusError] if the status is not
// 2xx, and an error if the body breaks off, is not JSON, or contains an error of
// the host. It makes no other checks: a stream that ends cleanly without a
// finish_reason is no error. With an error, the Reply has what was read before.
func ReadAnswer(resp *http.Response) (Reply, error) {
	defer resp.Body.Close()
	var r Reply
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, keptBody))
		return r, errors.Join(&StatusError{resp.StatusCode, string(body)}, err)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		err := r.readStream(resp.Body)
		return r, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return r, fmt.Errorf("breakwatertest: reading the answer: %w", err)
	}
	if err := r.add(body); err != nil {
		return r, err
	}
	r.Done = true
	return r, nil
}

// readStream treats every data line as an event, as simple clients do. It continues to
// read after [DONE], so that the connection can be used again.
func (r *Reply) readStream(body io.Reader) error {
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("breakwatertest: reading the stream: %w", err)
		}
		if data, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "data:"); ok {
			switch data = strings.TrimSpace(data); data {
			case "[DONE]":
				r.Done = true
			default:
				if err := r.add([]byte(data)); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// add adds the data of an event, or a JSON answer. Its fields show which wire it is.
func (r *Reply) add(text []byte) error {
	var probe struct {
		Object string          `json:"object"`
		Type   string          `json:"type"`
		Error  json.RawMessage `json:"error"`
		Code   json.RawMessage `json:"code"`
	}
	if err := json.Unmarshal(text, &probe); err != nil {
		return noJSON(err)
	}
	if isSet(probe.Error) || isSet(probe.Code) || probe.Type == "error" {
		return errorInside(text)
	}
	switch {
	case probe.Object == "response":
		return r.addWholeResponse(text)
	case probe.Type == "message":
		return r.addMessage(text)
	case strings.HasPrefix(probe.Type, "response."):
		return r.addResponseEvent(probe.Type, text)
	case probe.Type != "":
		return r.addMessageEvent(probe.Type, text)
	}
	return r.addCompletion(text)
}

func (r *Reply) addCompletion(text []byte) error {
	var c completion
	if err := json.Unmarshal(text, &c); err != nil {
		return noJSON(err)
	}
	r.ID, r.Model, r.Fingerprint = c.ID, c.Model, c.SystemFingerprint
	if c.Usage != nil {
		r.Usage = c.Usage.public()
	}
	for _, one := range c.Choices {
		if one.Text != nil {
			r.say(one.Index, *one.Text)
		}
		for _, part := range []*content{one.Message, one.Delta} {
			if part == nil {
				continue
			}
			r.say(one.Index, unquote(part.Content))
			if one.Index == 0 {
				r.Reasoning += unquote(part.ReasoningContent) + unquote(part.Reasoning)
				for _, call := range part.ToolCalls {
					r.ToolArguments += call.Function.Arguments
				}
			}
		}
		if one.Index == 0 && one.FinishReason != nil {
			r.FinishReason = *one.FinishReason
		}
	}
	return nil
}

// say adds text to the content of a choice.
func (r *Reply) say(choice int, text string) {
	if choice < 0 || choice >= 128 {
		return // no API offers so many choices
	}
	for len(r.Choices) <= choice {
		r.Choices = append(r.Choices, "")
	}
	r.Choices[choice] += text
	r.Content = r.Choices[0]
}

func noJSON(err error) error {
	return fmt.Errorf("breakwatertest: the host sent no JSON: %w", err)
}

func errorInside(text []byte) error {
	return fmt.Errorf("breakwatertest: the host put an error into its answer: %s", text)
}

func isSet(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// unquote returns the string in raw, empty for null or an absent value.
func unquote(raw json.RawMessage) string {
	var text string
	_ = json.Unmarshal(raw, &text) // text stays empty if raw is not a string
	return text
}

func (u *chatUsage) public() Usage {
	out := Usage{PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.TotalTokens}
	if u.PromptCacheHitTokens != nil {
		out.CacheHitTokens = *u.PromptCacheHitTokens
	}
	if u.PromptCacheMissTokens != nil {
		out.CacheMissTokens = *u.PromptCacheMissTokens
	}
	if u.CompletionTokensDetails != nil {
		out.ReasoningTokens = u.CompletionTokensDetails.ReasoningTokens
	}
	return out
}
