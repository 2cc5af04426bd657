package compat

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/cloudwego/eino-ext/components/model/openai"
	client "github.com/meguminnnnnnnnn/go-openai"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// einoOpenAI is github.com/cloudwego/eino-ext's model for OpenAI, which is made
// on a fork of go-openai.
type einoOpenAI struct{ eino }

func newEinoOpenAI(baseURL string, client *http.Client) sdktest.Client {
	m, err := openai.NewChatModel(context.Background(), &openai.ChatModelConfig{
		APIKey:     sdktest.CallerKey,
		BaseURL:    baseURL,
		Model:      "overridden", // by each question's
		HTTPClient: client,
	})
	if err != nil {
		panic(err)
	}
	return einoOpenAI{eino{m}}
}

// APIError takes the fork's RequestError for one, too: the word for a refusal
// whose body is not in OpenAI's shape, which eino-ext has no type for.
func (einoOpenAI) APIError(err error) (sdktest.APIError, bool) {
	var e *openai.APIError
	if errors.As(err, &e) {
		return sdktest.APIError{Status: e.HTTPStatusCode, Message: e.Message}, true
	}
	var r *client.RequestError
	if errors.As(err, &r) {
		return sdktest.APIError{Status: r.HTTPStatusCode, Message: string(r.Body)}, true
	}
	return sdktest.APIError{}, false
}

func TestEinoOpenAI(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "eino-ext openai", New: newEinoOpenAI, NoModel: true, NoFingerprint: true})
}
