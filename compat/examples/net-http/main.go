// Command net-http has breakwater under net/http.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/compat/examples/sea"
)

func main() {
	client, key, done := sea.Client() // an *http.Client as breakwater.NewClient returns it
	defer done()

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sea.BaseURL+"/chat/completions",
		strings.NewReader(`{"model":"`+sea.Model+`","messages":[{"role":"user","content":"what is a breakwater?"}]}`))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		sea.Print("", err, &trail)
	}
	defer resp.Body.Close()
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Choices) == 0 {
		panic(resp.Status)
	}
	sea.Print(answer.Choices[0].Message.Content, nil, &trail)
}
