package breakwatertest

import (
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// A sighting is what a verdict on the client needs of one request. The server's mu guards it.
type sighting struct {
	in     Request
	number int // in Server.Requests, from 1
	answer bool
	prompt string
	body   [sha256.Size]byte // of its canonical form

	status  int       // of a response that is no answer; 0: none was sent
	refused time.Time // when it was sent
	wait    time.Duration
	ended   time.Time // zero: it is under way
}

func sightingOf(x *exchange, number int) *sighting {
	one := &sighting{in: x.in, number: number, answer: x.op == opAnswer}
	if x.asks != nil {
		one.prompt = x.asks.prompt
	}
	text, ok := wire.Canonical(nil, x.in.Body, "stream_options")
	if !ok {
		text = x.in.Body
	}
	one.body = sha256.Sum256(text)
	return one
}

func (s *Server) sawRefusal(one *sighting, p reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one == nil {
		return
	}
	one.status, one.refused = p.code, time.Now()
	h := make(http.Header)
	for i := 0; i+1 < len(p.header); i += 2 {
		h.Add(p.header[i], p.header[i+1])
	}
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		one.wait = time.Duration(ms * float64(time.Millisecond))
	} else if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		one.wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		one.wait = at.Sub(one.refused)
	}
}

func (s *Server) sawEnd(one *sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one != nil {
		one.ended = time.Now()
	}
}

// saw returns copies of what the server saw.
func (s *Server) saw() []sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []sighting
	for _, one := range s.sightings {
		all = append(all, *one)
	}
	return all
}

// holds reports whether the request has the key anywhere.
func (one *sighting) holds(key string) bool {
	if key == "" {
		return false
	}
	if strings.Contains(one.in.RawQuery, key) || strings.Contains(one.in.Path, key) || strings.Contains(string(one.in.Body), key) {
		return true
	}
	for _, values := range one.in.Header {
		for _, v := range values {
			if strings.Contains(v, key) {
				return true
			}
		}
	}
	return false
}

// asksAs reports whether two requests have the same prompt.
func (one *sighting) asksAs(other *sighting) bool {
	return one.answer && one.prompt == other.prompt && (one.prompt != "" || one.body == other.body)
}

// isOverload reports whether the host asked for less.
func (one *sighting) isOverload() bool {
	return one.status == http.StatusTooManyRequests || one.status == http.StatusServiceUnavailable || one.status == 529
}

// isFinal reports whether the same request with the same key would be refused again.
func (one *sighting) isFinal() bool {
	switch one.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden,
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
