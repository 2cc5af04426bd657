package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the agent. It is what you copy.

// newTransport returns breakwater for an agent that calls tools. Tests give more
// options, such as a network of fakes.
func newTransport(key, otherKey string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithBackup(breakwater.SiliconFlow(otherKey)),
		breakwater.WithStream(breakwater.StreamPolicy{
			Queued:   3 * time.Minute,
			Thinking: 3 * time.Minute,
		}),
		breakwater.WithErrors(),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

const maxSteps = 10

// An agent works on tasks with a model and tools.
type agent struct {
	client *http.Client
	tools  map[string]func(ctx context.Context, callID, arguments string) (string, error)
	schema json.RawMessage // describes the tools to the model
}

// A task is a conversation. Save it after each step: with it, a task continues where
// it stopped, and no tool runs twice.
type task struct {
	Messages []json.RawMessage // as they came, with all fields that a host added
	Answer   string
}

type toolCall struct {
	ID       string
	Function struct{ Name, Arguments string }
}

// work makes steps until the model answers. After an error, call it again later.
func (a *agent) work(ctx context.Context, t *task) error {
	for range maxSteps {
		message, err := a.ask(ctx, t)
		if err != nil {
			return err
		}
		var m struct {
			Content   string
			ToolCalls []toolCall `json:"tool_calls"`
		}
		if err := json.Unmarshal(message, &m); err != nil {
			return err
		}
		t.Messages = append(t.Messages, message)
		if len(m.ToolCalls) == 0 {
			t.Answer = m.Content
			return nil
		}
		for _, call := range m.ToolCalls {
			result := a.call(ctx, call)
			message, _ := json.Marshal(map[string]string{"role": "tool", "tool_call_id": call.ID, "content": result})
			t.Messages = append(t.Messages, message)
		}
	}
	return fmt.Errorf("not finished after %d steps", maxSteps)
}

// call runs a tool. The model hears of a failure, and may do better.
func (a *agent) call(ctx context.Context, call toolCall) string {
	tool := a.tools[call.Function.Name]
	if tool == nil || !json.Valid([]byte(call.Function.Arguments)) { // models do write such calls
		return "error: no such tool, or its arguments are not JSON"
	}
	result, err := tool(ctx, call.ID, call.Function.Arguments)
	if err != nil {
		return "error: " + err.Error()
	}
	return result
}

// ask asks for the next message, as JSON: a tool must not run on half of a call.
func (a *agent) ask(ctx context.Context, t *task) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]any{"model": "deepseek-flash", "messages": t.Messages, "tools": a.schema})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err // a *breakwater.Error: no host could answer
	}
	defer resp.Body.Close()
	var answer struct {
		Choices []struct{ Message json.RawMessage }
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != http.StatusOK || err != nil || len(answer.Choices) == 0 {
		return nil, fmt.Errorf("the host refuses the request: status %d", resp.StatusCode)
	}
	return answer.Choices[0].Message, nil
}
