package compat

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// netHTTP is net/http and encoding/json as a careful user writes them.
type netHTTP struct {
	baseURL string
	client  *http.Client
}

func newNetHTTP(baseURL string, client *http.Client) sdktest.Client { return netHTTP{baseURL, client} }

// httpError is the error that a careful user makes of a refusal.
type httpError struct {
	status  int
	message string
}

func (e *httpError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.message) }

type chatMessage struct {
	Content          string
	ReasoningContent string `json:"reasoning_content"`
	ToolCalls        []struct {
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

type chatResponse struct {
	Model             string
	SystemFingerprint string `json:"system_fingerprint"`
	Choices           []struct {
		Message, Delta chatMessage
		FinishReason   string `json:"finish_reason"`
	}
	Error *struct{ Message string }
}

func (c netHTTP) post(ctx context.Context, q sdktest.Question, stream bool) (*http.Response, error) {
	body := map[string]any{"model": q.Model, "stream": stream, "messages": []any{map[string]string{"role": "user", "content": q.Prompt}}}
	if q.Tool != "" {
		body["tools"] = []any{map[string]any{"type": "function", "function": map[string]any{"name": q.Tool, "parameters": map[string]string{"type": "object"}}}}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.baseURL+"/chat/completions", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+sdktest.CallerKey)
	req.Header.Set("OpenAI-Organization", sdktest.CallerOrg)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		e := &httpError{resp.StatusCode, string(text)}
		var m chatResponse
		if json.Unmarshal(text, &m) == nil && m.Error != nil {
			e.message = m.Error.Message
		}
		return nil, e
	}
	return resp, nil
}

func (m *chatResponse) addTo(a *sdktest.Answer) {
	a.Model, a.Fingerprint = m.Model, m.SystemFingerprint
	for _, c := range m.Choices {
		for _, said := range []chatMessage{c.Message, c.Delta} {
			a.Text += said.Content
			a.Reasoning += said.ReasoningContent
			for _, call := range said.ToolCalls {
				a.Tool += call.Function.Name
				a.ToolArguments += call.Function.Arguments
			}
		}
		a.Finish += c.FinishReason
	}
}

func (c netHTTP) Chat(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	resp, err := c.post(ctx, q, false)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	var m chatResponse
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return a, err
	}
	if m.Error != nil {
		return a, errors.New(m.Error.Message)
	}
	m.addTo(&a)
	return a, nil
}

func (c netHTTP) Stream(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	resp, err := c.post(ctx, q, true)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20) // a tool's arguments may come in one line
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			return a, nil
		}
		var m chatResponse
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return a, err
		}
		if m.Error != nil {
			return a, errors.New(m.Error.Message)
		}
		m.addTo(&a)
	}
	return a, lines.Err()
}

func (netHTTP) APIError(err error) (sdktest.APIError, bool) {
	var e *httpError
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	return sdktest.APIError{Status: e.status, Message: e.message}, true
}

func TestNetHTTP(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "net/http", New: newNetHTTP})
}
