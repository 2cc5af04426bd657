package host

import (
	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/request"
)

// Edits returns what makes a request's body to one host one to another, with a
// model by its name there. Where the hosts have different fields for the mode of
// thinking and for the caller's user, these are changed, too. Every other byte
// stays as it was: the prefix cache of a host depends on it.
func Edits(p *request.Params, op request.Operation, from, to *Profile, model string) []request.Edit {
	var edits []request.Edit
	if renamed := p.ModelAt.To != 0 && model != p.Model; renamed {
		edits = append(edits, request.Edit{At: p.ModelAt, Text: string(gjson.AppendJSONString(nil, model))})
		if field, think := keptMode(p, op, to, model); field != request.ThinkingUnknown {
			after := request.Span{From: p.ModelAt.To, To: p.ModelAt.To}
			edits = append(edits, request.Edit{At: after, Text: `,"` + field.Name() + `":` + field.Value(think)})
		}
	}
	if op != request.Chat || from == to {
		return edits
	}
	if field := to.ThinkingField; p.Thinking.At.To != 0 && field != request.ThinkingUnknown && !p.Thinking.Has(field) {
		edits = append(edits, request.Edit{At: p.Thinking.At, Text: `"` + field.Name() + `":` + field.Value(p.Thinking.On)})
	}
	if field := to.userField(); p.UserAt.To != 0 && p.UserField == from.userField() && field != p.UserField {
		edits = append(edits, request.Edit{At: p.UserAt, Text: `"` + field + `"`})
	}
	return edits
}

// keptMode returns the field to add, and what it is to say, so that a model that
// takes the place of a retired one thinks as that did: today's models think by
// default, those of old did as they were called. ThinkingUnknown: none.
func keptMode(p *request.Params, op request.Operation, to *Profile, model string) (field request.ThinkingField, think bool) {
	think, retired := retiredModels[p.Model]
	if !retired || p.Thinking.Field != request.ThinkingUnknown || to.Thinks(model) {
		return request.ThinkingUnknown, false
	}
	switch {
	case op == request.Chat:
		field = to.ThinkingField
	case op == request.Messages && !think: // to think, Anthropic's field wants a budget
		field = request.ThinkingObject
	}
	if p.Thinking.Has(field) {
		return request.ThinkingUnknown, false
	}
	return field, think
}
