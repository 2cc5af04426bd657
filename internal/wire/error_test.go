package wire

import (
	"bytes"
	"testing"

	"github.com/tidwall/gjson"
)

func TestError_Body(t *testing.T) {
	for _, tt := range []struct {
		wire   Wire
		status int
		want   string
	}{
		{Chat, 503, `{"error":{"message":"a \"b\"","type":"breakwater_error","param":null,"code":"paused"}}`},
		{Responses, 429, `{"error":{"message":"a \"b\"","type":"breakwater_error","param":null,"code":"paused"}}`},
		{Embeddings, 504, `{"error":{"message":"a \"b\"","type":"breakwater_error","param":null,"code":"paused"}}`},
		{Messages, 503, `{"type":"error","error":{"message":"a \"b\"","type":"overloaded_error","param":null,"code":"paused"}}`},
		{Messages, 429, `{"type":"error","error":{"message":"a \"b\"","type":"rate_limit_error","param":null,"code":"paused"}}`},
		{Messages, 504, `{"type":"error","error":{"message":"a \"b\"","type":"timeout_error","param":null,"code":"paused"}}`},
	} {
		if got := tt.wire.ErrorBody(tt.status, "paused", `a "b"`); string(got) != tt.want || !gjson.ValidBytes(got) {
			t.Errorf("wire %d, %d: %s, want %s", tt.wire, tt.status, got, tt.want)
		}
	}
}

// The event that we end a stream with is read as the failure it is.
func TestError_EventIsAFailure(t *testing.T) {
	for _, tt := range []struct {
		wire Wire
		want string
	}{
		{Chat, "data: {\"error\":{\"message\":\"a \\\"b\\\"\",\"type\":\"breakwater_error\",\"param\":null,\"code\":\"stalled\"}}\n\n"},
		{Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"stalled\",\"message\":\"a \\\"b\\\"\",\"param\":null}\n\n"},
		{Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"a \\\"b\\\"\"}}\n\n"},
	} {
		got := tt.wire.ErrorEvent("stalled", `a "b"`)
		if string(got) != tt.want {
			t.Errorf("wire %d: %q, want %q", tt.wire, got, tt.want)
		}
		_, data, _ := bytes.Cut(got, []byte("data: "))
		if signal := (&Answer{Wire: tt.wire}).Event(bytes.TrimSpace(data)); signal != Failure {
			t.Errorf("wire %d: our own event is read as %d, want a failure", tt.wire, signal)
		}
	}
}
