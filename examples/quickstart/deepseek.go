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
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

const question = "In one sentence: what does a breakwater do for a harbour?"

// askDeepSeek asks one question, as JSON and as a stream, and shows who answered.
func askDeepSeek(ctx context.Context, out io.Writer, style terminal.Style, details bool, deepseek breakwater.Endpoint) error {
	client, err := breakwater.NewClient(breakwater.WithEndpoints(deepseek))
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	a := &asker{client: client, baseURL: deepseek.URL, out: out, style: style, details: details}
	fmt.Fprintln(out, style.Strong("breakwater asks DeepSeek, with your key: once for JSON, once for a stream."))
	for _, stream := range []bool{false, true} {
		if err := a.ask(ctx, stream); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	fmt.Fprintln(out, style.Strong(style.Good("Both answers came through breakwater, whole.")))
	fmt.Fprintln(out)
	fmt.Fprintln(out, style.Strong("Next")+"  docs/getting-started.md puts it under your own client, in two lines.")
	fmt.Fprintln(out, "      Without DEEPSEEK_API_KEY, this command plays an outage of fake hosts.")
	return nil
}

// An asker shows what it is answered.
type asker struct {
	client  *http.Client
	baseURL string
	out     io.Writer
	style   terminal.Style
	details bool
}

func (a *asker) ask(ctx context.Context, stream bool) error {
	body, err := json.Marshal(map[string]any{
		"model":    model,
		"stream":   stream,
		"thinking": map[string]string{"type": "disabled"},
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.baseURL+"/chat/completions", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	fmt.Fprintf(a.out, "\n> %s\n", question)
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		a.showTrail(resp)
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	if stream {
		err = a.showStream(resp.Body)
	} else {
		err = a.showAnswer(resp.Body)
	}
	a.showTrail(resp)
	return err
}

// message is the part of an answer, or of one event of a stream, that is shown.
type message struct {
	Choices []struct {
		Message, Delta struct{ Content string }
	}
}

func (a *asker) showAnswer(body io.Reader) error {
	var m message
	if err := json.NewDecoder(body).Decode(&m); err != nil {
		return err
	}
	for _, c := range m.Choices {
		fmt.Fprintln(a.out, terminal.Fold(c.Message.Content))
	}
	return nil
}

// showStream writes the text as it comes.
func (a *asker) showStream(body io.Reader) error {
	var text terminal.Folder
	defer func() { fmt.Fprintln(a.out, text.End()) }()
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
			fmt.Fprint(a.out, text.Fold(c.Delta.Content))
		}
	}
	return lines.Err()
}

// showTrail says who answered, and, in detail, what each attempt brought.
func (a *asker) showTrail(resp *http.Response) {
	trail := breakwater.TrailOf(resp)
	if len(trail) == 0 {
		return
	}
	last := trail[len(trail)-1]
	if last.Class == breakwater.ClassOK {
		fmt.Fprintln(a.out, a.style.Good(terminal.Fold(fmt.Sprintf("ok: %s, attempt %d, first token after %v, whole after %v, %d tokens",
			last.Endpoint, last.N, inMS(last.FirstToken), inMS(last.Elapsed), last.Usage.TotalTokens))))
	}
	if !a.details {
		return
	}
	for _, at := range trail {
		fmt.Fprintln(a.out, a.style.Quiet(terminal.Fold(fmt.Sprintf("  attempt %d: %s, %s, status %d, %s, %v, waited %v before",
			at.N, at.Endpoint, at.Model, at.Status, at.Class, inMS(at.Elapsed), inMS(at.Wait)))))
	}
}

func inMS(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
