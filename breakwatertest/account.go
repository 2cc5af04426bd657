package breakwatertest

import (
	"fmt"
	"slices"
	"strings"
)

const balance = `{"is_available":true,"balance_infos":[{"currency":"USD","total_balance":"10.00","granted_balance":"0.00","topped_up_balance":"10.00"}]}`

// authorize returns the refusal of a key, if it is refused.
func (s *Server) authorize(key string) (reply, bool) {
	switch {
	case s.host.NoKey:
		return reply{}, true
	case key == "":
		// Without a key DeepSeek's edge answers, in plain text of no type.
		return reply{code: 401, body: "Authentication Fails (governor)"}, false
	case len(s.host.Keys) > 0 && !slices.Contains(s.host.Keys, key):
		return wrongKey(key[max(0, len(key)-4):]).reply(s.host.Dialect), false
	}
	return reply{}, true
}

// accept returns the refusal of a model, if it is refused.
func (s *Server) accept(model string) (reply, bool) {
	if len(s.host.Models) == 0 || slices.Contains(s.host.Models, model) {
		return reply{}, true
	}
	f := failure{
		status: 400, kind: "invalid_request_error", code: "invalid_request_error",
		message: fmt.Sprintf("The supported API model names are %s, but you passed %s.",
			strings.Join(s.host.Models, " or "), model),
	}
	switch s.host.Dialect {
	case DialectOpenAI:
		f.status, f.code = 404, "model_not_found"
		f.message = fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model)
	case DialectSiliconFlow:
		f.flat, f.message = 20012, "Model does not exist. Please check it carefully."
	}
	return f.reply(s.host.Dialect), false
}

// acquire takes one of the answers that may be under way for the key and model.
// Its slot is given back with x.done.
func (x *exchange) acquire() (reply, bool) {
	s, account := x.s, x.in.Key+"\x00"+x.in.Model
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := s.host.Concurrency; limit > 0 && s.busy[account] >= limit {
		return failure{
			status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", flat: 50604,
			message: fmt.Sprintf("Your current concurrency is %d, which exceeds your concurrency limit of %d"+
				" based on your remaining balance. Please top up your balance to restore your concurrency.",
				s.busy[account]+1, limit),
		}.reply(s.host.Dialect), false
	}
	s.busy[account]++
	leave, held := x.done, true
	x.done = func() {
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
	names := s.host.Models
	if len(names) == 0 {
		names = []string{"deepseek-flash", "deepseek-v4-pro"}
	}
	for _, name := range names {
		list.Data = append(list.Data, model{name, "model", s.host.Name})
	}
	return mustJSON(list)
}
