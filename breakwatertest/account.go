package breakwatertest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

const balance = `{"is_available":true,"balance_infos":[{"currency":"USD","total_balance":"10.00","granted_balance":"0.00","topped_up_balance":"10.00"}]}`

// authorize returns the refusal of a key, if it is refused.
func (e *exchange) authorize() (reply, bool) {
	key := e.in.Key
	switch {
	case e.s.host.NoKey:
		return reply{}, true
	case key == "":
		return e.refusal(dialect.NoKey), false
	case !e.s.accepts(key):
		return e.refusal(dialect.WrongKey), false
	}
	return reply{}, true
}

// accepts reports whether a key is one of the host's.
func (s *Server) accepts(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) == 0 || slices.Contains(s.keys, key)
}

// accept returns the refusal of a model or a prefix, if it is refused.
func (e *exchange) accept() (reply, bool) {
	if len(e.s.host.Models) > 0 && !slices.Contains(e.s.host.Models, e.asks.model) {
		return e.refusal(dialect.UnknownModel), false
	}
	return e.acceptPrefix()
}

// refusal returns the response with which the host refuses this request, in its
// dialect.
func (e *exchange) refusal(r dialect.Refusal) reply {
	return e.words(e.s.host.Dialect.words(r), 0)
}

// words returns a refusal as a response, with the values of this request in place
// of its placeholders.
func (e *exchange) words(f dialect.Failure, n int) reply {
	key := e.in.Key
	return replyOf(f.Fill(
		"{model}", e.in.Model, "{models}", strings.Join(e.s.models(), " or "),
		"{key}", key[max(0, len(key)-4):],
		"{n}", strconv.Itoa(n), "{n+1}", strconv.Itoa(n+1),
	), e.s.host.Dialect, e.wire)
}

// acquire takes one of the host's concurrency slots for the key and model. e.done
// gives it back. If all are taken, acquire returns the refusal.
func (e *exchange) acquire() (reply, bool) {
	s, account := e.s, e.in.Key+"\x00"+e.in.Model
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := s.host.Concurrency; limit > 0 && s.busy[account] >= limit {
		return e.words(s.host.Dialect.words(dialect.TooManyAtOnce), limit), false
	}
	s.busy[account]++
	leave, held := e.done, true
	e.done = func() {
		s.mu.Lock()
		if held {
			held = false
			if s.busy[account]--; s.busy[account] == 0 {
				delete(s.busy, account)
			}
		}
		s.mu.Unlock()
		leave()
	}
	return reply{}, true
}

// models returns the model names that the host lists. It may accept others, too.
func (s *Server) models() []string {
	if len(s.host.Models) == 0 {
		return []string{"deepseek-flash", "deepseek-v4-pro"}
	}
	return s.host.Models
}

func (s *Server) modelList() string {
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		OwnedBy string `json:"owned_by"`
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{}}
	for _, name := range s.models() {
		list.Data = append(list.Data, model{name, "model", s.host.Name})
	}
	return mustJSON(list)
}
