package compat

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/cloudwego/eino-ext/components/model/deepseek"
	client "github.com/cohesion-org/deepseek-go"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// einoDeepSeek is github.com/cloudwego/eino-ext's model for DeepSeek, which is
// made on cohesion-org's client.
type einoDeepSeek struct{ eino }

func newEinoDeepSeek(baseURL string, client *http.Client) sdktest.Client {
	m, err := deepseek.NewChatModel(context.Background(), &deepseek.ChatModelConfig{
		APIKey:     sdktest.CallerKey,
		BaseURL:    baseURL,
		Model:      "overridden", // by each question's
		HTTPClient: client,
	})
	if err != nil {
		panic(err)
	}
	return einoDeepSeek{eino{m}}
}

// APIError takes the body for the message: Message is made up from the status
// wherever the body is in OpenAI's shape.
func (einoDeepSeek) APIError(err error) (sdktest.APIError, bool) {
	var e *client.APIError
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	return sdktest.APIError{Status: e.StatusCode, Message: e.ResponseBody}, true
}

func TestEinoDeepSeek(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "eino-ext deepseek", New: newEinoDeepSeek, NoModel: true, NoFingerprint: true})
}
