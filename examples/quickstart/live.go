package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
)

const (
	liveModel = "deepseek-flash"
	question  = "In one sentence: what does a breakwater do for a harbour?"
)

// askDeepSeek asks one question, plain and streaming, and prints the trail.
func askDeepSeek(ctx context.Context, out io.Writer, deepseek breakwater.Endpoint) error {
	client, err := breakwater.NewClient(breakwater.WithEndpoints(deepseek))
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	for _, stream := range []bool{false, true} {
		fmt.Fprintf(out, "> %s (stream: %v)\n", question, stream)
		if err := ask(ctx, out, client, deepseek.URL, stream); err != nil {
			return err
		}
	}
	return nil
}

func ask(ctx context.Context, out io.Writer, client *http.Client, baseURL string, stream bool) error {
	body, err := json.Marshal(map[string]any{
		"model":    liveModel,
		"stream":   stream,
		"thinking": map[string]string{"type": "disabled"},
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/chat/completions", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	if stream {
		err = printStream(out, resp.Body)
	} else {
		err = printAnswer(out, resp.Body)
	}
	for _, a := range breakwater.TrailOf(resp) {
		fmt.Fprintf(out, "  attempt %d: %s %s, %s, first token after %v, over after %v, %d tokens\n", a.N, a.Endpoint, a.Model,
			a.Class, a.FirstToken.Round(time.Millisecond), a.Elapsed.Round(time.Millisecond), a.Usage.TotalTokens)
	}
	return err
}

// message is the part of an answer, or of one event of a stream, that is printed.
type message struct {
	Choices []struct {
		Message, Delta struct{ Content string }
	}
}

func printAnswer(out io.Writer, body io.Reader) error {
	var m message
	if err := json.NewDecoder(body).Decode(&m); err != nil {
		return err
	}
	for _, c := range m.Choices {
		fmt.Fprintln(out, c.Message.Content)
	}
	return nil
}

func printStream(out io.Writer, body io.Reader) error {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var m message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return err
		}
		for _, c := range m.Choices {
			fmt.Fprint(out, c.Delta.Content)
		}
	}
	fmt.Fprintln(out)
	return lines.Err()
}
