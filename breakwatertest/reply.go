package breakwatertest

import (
	"encoding/json"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// A reply is a whole response that is not an answer.
type reply struct {
	code        int
	contentType string // "" sends no Content-Type at all
	body        string
	header      []string // names and values, alternating
}

func (r reply) write(w http.ResponseWriter) {
	header := w.Header()
	if r.contentType == "" {
		// A nil value keeps net/http from guessing one.
		header["Content-Type"] = nil
	} else {
		header.Set("Content-Type", r.contentType)
	}
	for i := 0; i+1 < len(r.header); i += 2 {
		header.Add(r.header[i], r.header[i+1])
	}
	w.WriteHeader(r.code)
	_, _ = w.Write([]byte(r.body)) // fails only if the client has left
}

// replyOf returns the failure as a response, in the shape of the host and the wire.
func replyOf(f dialect.Failure, d Dialect, w Wire) reply {
	contentType, body := f.Body(dialect.Dialect(d), w == Messages)
	return reply{code: f.Status, contentType: contentType, body: body, header: f.Header}
}

// mustJSON marshals v, which has one of our own types. Marshaling these never fails.
func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("breakwatertest: " + err.Error())
	}
	return string(text)
}
