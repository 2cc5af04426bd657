package host

import (
	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/request"
)

// Edits returns the edits that turn a request's body for one host into one for another,
// with the model's name there. If the hosts have different fields for thinking or for the
// caller's user, these are changed, too. Every other byte stays, because the host's prefix
// cache depends on it.
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

// keptMode returns the field to add, and its value, so that the model that replaces a
// retired one thinks if that did: current models think by default, retired ones thought by
// their name. ThinkingUnknown: add none.
func keptMode(p *request.Params, op request.Operation, to *Profile, model string) (field request.ThinkingField, think bool) {
	think, retired := retiredModels[p.Model]
	if !retired || p.Thinking.Field != request.ThinkingUnknown || to.Thinks(model) {
		return request.ThinkingUnknown, false
	}
	switch {
	case op == request.Chat:
		field = to.ThinkingField
	case op == request.Messages && !think: // to enable thinking, Anthropic's field needs a budget
		field = request.ThinkingObject
	}
	if p.Thinking.Has(field) {
		return request.ThinkingUnknown, false
	}
	return field, think
}
