package breakwatertest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// Request is one request a [Server] received.
type Request struct {
	Time                   time.Time
	Method, Path, RawQuery string
	Header                 http.Header
	Body                   []byte // the first MiB
	Key, Model             string // the bearer key, the model asked for
	Stream                 bool   // whether a stream was asked for
	Fault                  string // name of the fault it met, "" if none
}

const (
	keptBody = 1 << 20  // what Request.Body holds
	maxBody  = 64 << 20 // what is read at all
)

// chatRequest is what a host looks at in a chat request.
type chatRequest struct {
	Model         string    `json:"model"`
	Messages      []message `json:"messages"`
	Stream        bool      `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Thinking struct {
		Type string `json:"type"`
	} `json:"thinking"`
	Tools []struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	} `json:"tools"`
	N int `json:"n"`
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// text is the content, whether it is a string or a list of parts.
func (m message) text() string {
	var text string
	if json.Unmarshal(m.Content, &text) == nil {
		return text
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(m.Content, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, part := range parts {
		b.WriteString(part.Text)
	}
	return b.String()
}

// prompt is the text of the last user message.
func (c *chatRequest) prompt() string {
	for i := len(c.Messages) - 1; i >= 0; i-- {
		if c.Messages[i].Role == "user" {
			return c.Messages[i].text()
		}
	}
	return ""
}

func (c *chatRequest) thinks(d Dialect) bool {
	if d == DialectDeepSeek {
		return c.Thinking.Type != "disabled"
	}
	return c.Thinking.Type == "enabled"
}

// tool is the name of the tool to call, "" for none. Behind a tool's result the
// answer is text, or a client that runs tools would never come to an end.
func (c *chatRequest) tool() string {
	if len(c.Tools) == 0 || c.Messages[len(c.Messages)-1].Role == "tool" {
		return ""
	}
	return c.Tools[0].Function.Name
}

// received reads the request. A body must be read to its end: only then does
// net/http watch the connection and end the context when the client leaves.
func received(r *http.Request) (Request, *chatRequest, error) {
	var body bytes.Buffer
	_, err := body.ReadFrom(io.LimitReader(r.Body, maxBody))
	in := Request{
		Time: time.Now(), Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Header: r.Header.Clone(), Body: body.Bytes()[:min(body.Len(), keptBody)],
		Key: bearer(r.Header),
	}
	if err != nil {
		return in, nil, err
	}
	chat := &chatRequest{}
	if json.Unmarshal(body.Bytes(), chat) != nil || len(chat.Messages) == 0 {
		chat = nil
	} else {
		in.Model, in.Stream = chat.Model, chat.Stream
	}
	return in, chat, nil
}

func bearer(h http.Header) string {
	scheme, key, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}
