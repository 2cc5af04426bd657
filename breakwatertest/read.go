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

// Reply is an answer as a bare client reads it, in the words of chat completions
// whatever the wire; of several choices, the first.
type Reply struct {
	Content, Reasoning, ToolArguments string
	FinishReason                      string
	Model, Fingerprint, ID            string
	Usage                             Usage
	// Choices are the contents of all choices, by index.
	Choices []string
	// Done is whether the stream's last event came, such as [DONE], or a whole
	// JSON answer.
	Done bool
}

// Usage is the tokens an answer says it took. Messages does not say how many of
// them were for reasoning.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CacheHitTokens, CacheMissTokens             int
	ReasoningTokens                             int
}

// StatusError is a response whose status is no success.
type StatusError struct {
	Code int
	Body string
}

// Error gives the status and the body.
func (e *StatusError) Error() string {
	return fmt.Sprintf("breakwatertest: status %d: %q", e.Code, e.Body)
}

// ReadAnswer reads an answer of any wire, JSON or a stream by its Content-Type,
// and closes the body. It fails if the status is no success, with a [*StatusError]; if the
// body breaks off or is no JSON; and if the host put an error into it. Beyond
// that it believes what it reads: a stream that ends cleanly without a
// finish_reason is no failure. With an error comes what was read until then.
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

// readStream takes every data line for an event, as simple clients do. It reads
// on behind [DONE], so that the connection can be used again.
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

// add adds an event's data, or a whole answer, of the wire that it looks like.
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

// say adds to the content of a choice.
func (r *Reply) say(choice int, text string) {
	if choice < 0 || choice >= 128 {
		return // no API has so many
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

// unquote takes null and absent for empty.
func unquote(raw json.RawMessage) string {
	var text string
	_ = json.Unmarshal(raw, &text) // what is no string adds nothing
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
