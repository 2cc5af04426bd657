package breakwatertest

import (
	"strconv"
	"strings"
	"time"
)

// serveChat answers a chat request, or acts out a fault inside the answer.
func (x *exchange) serveChat() {
	if x.chat == nil {
		x.reply(failure{
			status: 400, message: "Failed to deserialize the JSON body into the target type",
			kind: "invalid_request_error", code: "invalid_request_error", flat: 20015,
		}.reply(x.s.host.Dialect))
		return
	}
	if refusal, ok := x.s.accept(x.chat.Model); !ok {
		x.reply(refusal)
		return
	}
	if refusal, ok := x.acquire(); !ok {
		x.reply(refusal)
		return
	}
	contentType := "application/json"
	if x.chat.Stream {
		contentType = "text/event-stream; charset=utf-8"
	}
	switch x.fault.kind {
	case kindHTMLInside:
		page := "<!DOCTYPE html>\n<html><head><title>Under maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n"
		x.reply(reply{code: 200, contentType: "text/html; charset=utf-8", body: page})
		return
	case kindEmptyInside:
		x.reply(reply{code: 200, contentType: contentType})
		return
	case kindSlowHeaders:
		x.wait(x.fault.wait)
	}
	x.w.Header().Set("Content-Type", contentType)
	if x.chat.Stream {
		x.w.Header().Set("Cache-Control", "no-cache")
		x.serveStream()
		return
	}
	x.serveJSON()
}

func (x *exchange) serveJSON() {
	body := x.answer().json()
	switch x.fault.kind {
	case kindErrorInside:
		body = x.fault.status(x.s.host.Dialect).body
	case kindErrorFrame:
		body = serverError.body(DialectDeepSeek)
	case kindCutJSON:
		body = body[:len(body)/2]
	case kindMalformedJSON:
		body = malformed(body)
	case kindCutStream:
		// The promise covers the blank lines sent before the body as well.
		x.w.Header().Set("Content-Length", strconv.Itoa(x.pace.keepAlives()+len(body)))
	}
	x.begin("\n")
	x.wait(time.Duration(x.pace.Tokens) * x.pace.PerToken)
	switch x.fault.kind {
	case kindCutStream:
		x.done()
		x.send(body[:len(body)/2])
		x.abort()
	case kindStallStream:
		x.send(body[:len(body)/2])
		x.hang()
	case kindStallKeepAlive:
		x.keepAliveForever("\n")
	}
	x.done()
	x.send(body)
}

// begin sends the headers and lets the queue and the silence behind it pass.
func (x *exchange) begin(keepAlive string) {
	x.flush()
	if x.fault.kind == kindQueueForever {
		x.keepAliveForever(keepAlive)
	}
	if x.fault.kind == kindSilence && !x.chat.Stream {
		x.hang()
	}
	n := x.pace.keepAlives()
	for range n {
		x.wait(x.pace.KeepAlive)
		x.send(keepAlive)
	}
	x.wait(x.pace.Queue - time.Duration(n)*x.pace.KeepAlive)
	x.wait(x.pace.FirstToken)
}

// keepAliveForever ends only with the client's leaving.
func (x *exchange) keepAliveForever(keepAlive string) {
	for {
		x.wait(x.pace.KeepAlive)
		x.send(keepAlive)
	}
}

// malformed loses a colon, which no tolerant parser can make up for.
func malformed(body string) string { return strings.Replace(body, ":", "", 1) }

// json is the whole answer in one body.
func (a *answer) json() string {
	whole := a.completion
	whole.Object, whole.Usage = "chat.completion", &a.usage
	for i := range a.choices {
		m := &content{Role: "assistant", Content: quote(strings.Join(a.pieces, ""))}
		if len(a.reasoning) > 0 {
			m.ReasoningContent = quote(strings.Join(a.reasoning, ""))
		}
		if a.tool != "" {
			call := toolCall{ID: a.callID, Type: "function"}
			call.Function.Name, call.Function.Arguments = a.tool, strings.Join(a.pieces, "")
			m.Content, m.ToolCalls = quote(""), []toolCall{call}
		}
		whole.Choices = append(whole.Choices, choice{Index: i, Message: m, FinishReason: &a.finish})
	}
	return mustJSON(whole)
}
