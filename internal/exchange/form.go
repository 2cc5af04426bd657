package exchange

import (
	"bytes"
	"io"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// looksLikeStream reports whether a body that begins so is a stream of events: a field, or a
// comment.
func looksLikeStream(head []byte) bool {
	name, _, ok := bytes.Cut(head[:min(len(head), len("retry:"))], []byte(":"))
	if !ok {
		return false
	}
	switch string(name) {
	case "", "data", "event", "id", "retry", "error":
		return true
	}
	return false
}

// looksLikeJSON reports whether a body that begins so is no stream of events but a JSON text.
func looksLikeJSON(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), blanks)
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

const (
	blanks        = " \t\r\n"
	byteOrderMark = "\ufeff"
)

// cutBehind reads an answer that something follows: the terminator of a stream, or, if the answer
// is whole, anything.
func (e *Exchange) cutBehind(body []byte) ([]byte, wire.Signal) {
	if text, ok := cutTerminator(body); ok {
		return text, e.Answer.Text(text)
	}
	before, text := e.Answer, wire.First(body)
	if signal := e.Answer.Text(text); signal < wire.Malformed && e.Answer.Ended() {
		return text, signal
	}
	e.Answer = before
	return body, wire.Malformed
}

// cutTerminator removes the terminator of a stream that some gateways send behind JSON.
func cutTerminator(body []byte) ([]byte, bool) {
	text, ok := bytes.CutSuffix(bytes.TrimRight(body, blanks), []byte("[DONE]"))
	if !ok {
		return nil, false
	}
	text = bytes.TrimRight(text, blanks)
	text = bytes.TrimSuffix(text, []byte("data:"))
	return bytes.TrimRight(text, blanks), true
}

// A form is what readWhole finds a body to be.
type form uint8

const (
	piece    form = iota // in one piece, and read to its end
	overlong             // larger than MaxBuffer
	events               // a stream of events
)

// dropBlanks moves the text of body to its front, without the blanks and the byte order mark
// before it.
func dropBlanks(body []byte) []byte {
	text := bytes.TrimLeft(body, blanks)
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if len(text) == len(body) {
		return body
	}
	text = bytes.TrimLeft(text, blanks)
	return body[:copy(body, text)]
}

// readFirst returns a body with what was read of it already.
func readFirst(begun []byte, body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begun), body), body}
}

// endBody makes a body that has ended in err do so again, whatever the base's own does. nil: it
// has not ended.
func endBody(resp *http.Response, err error) {
	if err != nil {
		resp.Body.Close()
		resp.Body = InMemory(nil, err)
	}
}

// maxHead is how much of a stream may be blank or comments until it counts as one.
const maxHead = 4 << 10

// isWhole reports whether what claims to be a stream is JSON, and returns what was read of it. It
// reads up to the first byte that is neither blank nor in a comment.
func (s *Stream) isWhole() ([]byte, bool) {
	for {
		_, s.eof = s.scan.Fill(&s.in)
		head := behindComments(s.scan.Unread())
		if looksLikeJSON(head) {
			return bytes.Clone(head), true
		}
		isComment := len(head) > 0 && head[0] == ':' // the rest of its line is missing
		if s.eof != nil || len(s.scan.Unread()) > maxHead || !isComment && len(dropBlanks(bytes.Clone(head))) > 0 {
			return nil, false
		}
	}
}

// behindComments returns what follows the comments that a stream begins with: some hosts keep the
// connection alive with them, and then send JSON.
func behindComments(head []byte) []byte {
	for rest := head; ; {
		line, behind, ok := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		if !ok || len(line) > 0 && line[0] != ':' {
			return rest
		}
		rest = behind
	}
}
