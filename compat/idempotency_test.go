package compat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// Users of SDKs pay once for an answer that takes longer than one try, of the SDK or of their
// own, if the call has a key. The SDKs show them what is wrong with a key.
func TestIdempotency_SDKs(t *testing.T) {
	const limit, takes = 10 * time.Second, 25 * time.Second // of one try; of the host
	for name, ask := range map[string]func(ctx context.Context, url string, client *http.Client, key, prompt string) (text string, status int, code string, err error){
		"openai-go": func(ctx context.Context, url string, client *http.Client, key, prompt string) (string, int, string, error) {
			opts := []option.RequestOption{option.WithRequestTimeout(limit), option.WithMaxRetries(3)}
			if key != "" {
				opts = append(opts, option.WithHeader("Idempotency-Key", key))
			}
			sdk := newOpenAIGo(url, client).(openAIGo)
			resp, err := sdk.client.Chat.Completions.New(ctx, sdk.params(sdktest.Question{Model: "deepseek-flash", Prompt: prompt}), opts...)
			if failure, ok := errors.AsType[*openai.Error](err); ok {
				return "", failure.StatusCode, failure.Code, err
			} else if err != nil {
				return "", 0, "", err
			}
			return resp.Choices[0].Message.Content, 200, "", nil
		},
		"anthropic-sdk-go": func(ctx context.Context, url string, client *http.Client, key, prompt string) (string, int, string, error) {
			opts := []anthropicoption.RequestOption{anthropicoption.WithRequestTimeout(limit), anthropicoption.WithMaxRetries(3)}
			if key != "" {
				opts = append(opts, anthropicoption.WithHeader("Idempotency-Key", key))
			}
			sdk := newAnthropicSDKGo(url, client).(anthropicSDKGo)
			message, err := sdk.client.Messages.New(ctx, sdk.params(sdktest.Question{Model: "deepseek-flash", Prompt: prompt}), opts...)
			if failure, ok := errors.AsType[*anthropic.Error](err); ok {
				return "", failure.StatusCode, string(failure.Type()), err
			} else if err != nil {
				return "", 0, "", err
			}
			text := ""
			for _, block := range message.Content {
				text += block.Text
			}
			return text, 200, "", nil
		},
	} {
		for _, key := range []string{"", "job-7"} {
			t.Run(fmt.Sprintf("%s/key %q", name, key), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fleet, err := kit.NewPipeFleet(kit.DeepSeek("a"))
					if err != nil {
						t.Fatal(err)
					}
					defer fleet.Close()
					host, base := fleet.Server("a"), fleet.Transport()
					defer base.CloseIdleConnections()
					host.SetPace(kit.Pace{FirstToken: takes})
					rt, err := breakwater.New(breakwater.WithBase(base), breakwater.WithIdempotency(breakwater.IdempotencyPolicy{}),
						breakwater.WithEndpoints(breakwater.Endpoint{URL: host.URL(), APIKey: "sk-a", Host: breakwater.HostDeepSeek}))
					if err != nil {
						t.Fatal(err)
					}
					defer rt.Close()
					url := host.URL()
					if name == "anthropic-sdk-go" {
						url += "/anthropic"
					}
					client := &http.Client{Transport: rt}
					text, _, _, err := ask(t.Context(), url, client, key, "q")
					for range 3 { // openai-go does not try again behind its own time limit, but its user does
						if name == "openai-go" && errors.Is(err, context.DeadlineExceeded) {
							text, _, _, err = ask(t.Context(), url, client, key, "q")
						}
					}
					requests := len(host.Requests())
					if key == "" {
						if err == nil || requests != 4 {
							t.Errorf("without a key: %q, %v after %d requests, want none after 4", text, err, requests)
						}
						return
					}
					if err != nil || text != kit.Answer("q") || requests != 1 {
						t.Errorf("%q, %v after %d requests, want the answer after 1", text, err, requests)
					}
					code := map[string]string{"openai-go": "idempotency_key_reused", "anthropic-sdk-go": "invalid_request_error"}[name]
					if _, status, got, err := ask(t.Context(), url, client, key, "another"); status != 422 || got != code || len(host.Requests()) != 1 {
						t.Errorf("with another prompt: %d %s, %v, want 422 %s", status, got, err, code)
					}
				})
			})
		}
	}
}
