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

func (p reply) write(w http.ResponseWriter) {
	header := w.Header()
	if p.contentType == "" {
		// A nil value keeps net/http from guessing one.
		header["Content-Type"] = nil
	} else {
		header.Set("Content-Type", p.contentType)
	}
	for i := 0; i+1 < len(p.header); i += 2 {
		header.Add(p.header[i], p.header[i+1])
	}
	w.WriteHeader(p.code)
	_, _ = w.Write([]byte(p.body)) // a client that left needs no error
}

// failure is an error in every dialect's words.
type failure struct {
	status  int
	message string
	kind    string // "type" in the nested shape
	code    string // "code" in the nested shape
	flat    int    // "code" in the flat shape; the status if zero
}

// body is the failure as a JSON object.
func (f failure) body(d Dialect) string {
	if d == DialectSiliconFlow {
		code := f.flat
		if code == 0 {
			code = f.status
		}
		return mustJSON(flatError{Code: code, Message: f.message})
	}
	var nested struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	nested.Error.Message, nested.Error.Type, nested.Error.Code = f.message, f.kind, f.code
	return mustJSON(nested)
}

type flatError struct {
	Code    int     `json:"code"`
	Message string  `json:"message"`
	Data    *string `json:"data"`
}

func (f failure) reply(d Dialect, header ...string) reply {
	return reply{code: f.status, contentType: "application/json", body: f.body(d), header: header}
}

// mustJSON marshals our own types, none of which can fail.
func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("breakwatertest: " + err.Error())
	}
	return string(text)
}
