// Command net-http has breakwater under net/http.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	client, key, done := exampleenv.Client() // an *http.Client as breakwater.NewClient returns it
	defer done()

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, exampleenv.BaseURL+"/chat/completions",
		strings.NewReader(`{"model":"`+exampleenv.Model+`","messages":[{"role":"user","content":"what is a breakwater?"}]}`))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	defer resp.Body.Close()
	// An outage's end is an answer, too: 503, and in it what became of each attempt.
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		exampleenv.Print("", fmt.Errorf("%s: %s", resp.Status, text), &trail)
	}
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(answer.Choices[0].Message.Content, nil, &trail)
}
