package exchange

import (
	"bytes"
	"io"
	"math"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// eventsOf returns the events of an answer that has a JSON object in each line in place of events.
func eventsOf(body []byte, w Want) ([]byte, bool) {
	answer := wire.Answer{Wire: w.Wire, Choices: w.Choices}
	stream := make([]byte, 0, len(body)+len(body)/8)
	for line := range bytes.Lines(body) {
		line = bytes.Trim(line, blanks)
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !wire.Valid(line) || answer.Event(line) >= wire.Malformed {
			return nil, false
		}
		stream = append(append(append(stream, "data: "...), line...), "\n\n"...)
	}
	return stream, answer.Ended()
}

// A gathering is what gather needs to know of a stream that failed.
type gathering struct {
	flawed []byte   // the last event of a flawed answer that may be kept; nil: it may not
	inside *Failure // what the host's error event stands for; nil: there was none
}

// gather reads a stream to its end, because the request asked for JSON, and converts it. A stream
// that is too large, or would lose something, stays what it is.
func (e *Exchange) gather(s *Stream, resp *http.Response) (*http.Response, *Failure) {
	s.gathered = &gathering{}
	body, err := io.ReadAll(io.LimitReader(s, min(e.Policy.MaxBuffer, math.MaxInt64-1)+1))
	switch text, ok := []byte(nil), false; {
	case err == nil && int64(len(body)) > e.Policy.MaxBuffer:
		s.gathered = nil
		s.out = append(body, s.out...)
		s.become(resp)
	case err != nil:
		f := s.failed(err)
		if f == s.gathered.inside {
			return nil, f.showError(resp)
		}
		if last := s.gathered.flawed; last != nil {
			text, f.Usable = recast.ToJSON(e.Answer.Wire, append(body, last...))
		}
		if f.Usable {
			e.setWhole(resp, text, "application/json")
			setMemory(resp, text)
			f.Status, f.Resp = resp.StatusCode, resp
		}
		return nil, f
	default:
		if text, ok = recast.ToJSON(e.Answer.Wire, body); ok {
			e.setWhole(resp, text, "application/json")
		} else {
			e.setWhole(resp, body, "text/event-stream")
		}
	}
	return resp, nil
}

// failed returns the failure of a stream that ended in err and that no reader has seen.
func (s *Stream) failed(err error) *Failure {
	switch f := s.x.LeftByCaller(); {
	case f != nil:
		return f
	case s.gathered.inside != nil:
		return s.gathered.inside
	}
	return &Failure{Class: outcome.BreakOf(err), Err: err}
}
