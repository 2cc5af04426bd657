package breakwatertest

import (
	"encoding/json"
	"net/http"
)

// reply is a whole response other than an answer.
type reply struct {
	code        int
	contentType string // "" sends no Content-Type at all
	body        string
	header      []string // names and values by turns
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
	_, _ = w.Write([]byte(r.body)) // a client that left needs no error
}

// reply is the failure as a response, in the shape of the host and the wire.
func (f failure) reply(d Dialect, w Wire) reply {
	p := reply{code: f.status, contentType: "application/json", header: f.header}
	switch {
	case f.plain:
		p.contentType, p.body = "", f.message
	case w == Messages:
		p.body = anthropic(f)
	default:
		p.body = d.row().shape(f)
	}
	return p
}

// mustJSON marshals our own types, none of which can fail.
func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("breakwatertest: " + err.Error())
	}
	return string(text)
}
