package breakwater

import (
	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/request"
)

// editsFor returns what makes the call's body e's. The model gets its name
// there. Where e's host has other fields for them than the caller's, so do the
// mode of thinking and the caller's user. Every other byte stays as it was: the
// host's prefix cache depends on it.
func (c *call) editsFor(e *upstream, model string) []request.Edit {
	var edits []request.Edit
	p := &c.params
	renamed := p.ModelAt.To != 0 && model != p.Model
	if renamed {
		edits = append(edits, request.Edit{At: p.ModelAt, Text: string(gjson.AppendJSONString(nil, model))})
	}
	if think, old := retired[p.Model]; old && renamed && p.Thinking.Field == request.ThinkingUnknown && !e.row.thinks(model) {
		// Today's models of that name think by themselves; those of old did as they were called.
		field := e.row.thinking
		switch c.op {
		case request.Messages:
			field = request.ThinkingObject
			if think { // Anthropic's field wants a budget with that
				field = request.ThinkingUnknown
			}
		case request.Chat:
		default:
			field = request.ThinkingUnknown
		}
		if field != request.ThinkingUnknown && !p.Thinking.Has(field) {
			after := request.Span{From: p.ModelAt.To, To: p.ModelAt.To}
			edits = append(edits, request.Edit{At: after, Text: `,"` + field.Name() + `":` + field.Value(think)})
		}
	}
	if c.op == request.Chat && e.row != c.target.row {
		if to := e.row.thinking; p.Thinking.At.To != 0 && to != request.ThinkingUnknown && !p.Thinking.Has(to) {
			edits = append(edits, request.Edit{At: p.Thinking.At, Text: `"` + to.Name() + `":` + to.Value(p.Thinking.On)})
		}
		if to := e.row.userField(); p.UserAt.To != 0 && p.UserField == c.target.row.userField() && to != p.UserField {
			edits = append(edits, request.Edit{At: p.UserAt, Text: `"` + to + `"`})
		}
	}
	return edits
}
