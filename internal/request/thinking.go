package request

import (
	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// Thinking is what a request says of whether the model is to think before it
// answers.
type Thinking struct {
	On    bool          // one of the fields asks for it
	Field ThinkingField // the last one that says whether to think
	At    Span          // that field, its name included; zero: there is none, or several say it
	there uint8         // the fields that are there at all, null ones too: one bit each
}

// Has reports whether the request has a field, whatever it says.
func (t *Thinking) Has(f ThinkingField) bool { return t.there&(1<<f) != 0 }

// Mode returns whether the request asks to think.
func (t *Thinking) Mode() ThinkingMode {
	switch {
	case t.On:
		return ThinkingOn
	case t.Field != ThinkingUnknown:
		return ThinkingOff
	}
	return ThinkingUnsaid
}

// A ThinkingMode is whether a request asks to think. What thinks takes longer.
type ThinkingMode int

const (
	ThinkingUnsaid ThinkingMode = iota // the model's default
	ThinkingOff
	ThinkingOn
)

// A ThinkingField is how a request to a host says whether to think.
type ThinkingField uint8

const (
	ThinkingUnknown ThinkingField = iota // in no way that is known
	ThinkingObject                       // "thinking":{"type":"enabled"}
	EnableThinking                       // "enable_thinking":true
	ReasoningObject                      // "reasoning":{"enabled":true}
)

// Name returns the field's name.
func (f ThinkingField) Name() string {
	return [...]string{"", "thinking", "enable_thinking", "reasoning"}[f]
}

// Value returns the field's JSON value.
func (f ThinkingField) Value(think bool) string {
	switch {
	case f == ThinkingObject && think:
		return `{"type":"enabled"}`
	case f == ThinkingObject:
		return `{"type":"disabled"}`
	case f == EnableThinking && think:
		return `true`
	case f == EnableThinking:
		return `false`
	case think:
		return `{"enabled":true}`
	}
	return `{"enabled":false}`
}

// thinking takes in a field that may say whether to think.
func (p *parser) thinking(m wire.Member) {
	var field ThinkingField
	var on, said bool
	switch v := parsed(m.Value); string(m.Name) {
	case "thinking":
		kind := v.Get("type").Str
		field, on, said = ThinkingObject, kind != "disabled", kind != ""
	case "enable_thinking":
		field, on, said = EnableThinking, v.Type == gjson.True, v.IsBool()
	case "reasoning":
		enabled := v.Get("enabled")
		field, on, said = ReasoningObject, enabled.Type == gjson.True, enabled.IsBool()
	}
	t := &p.Thinking
	t.there |= 1 << field
	if said {
		p.modes++
		t.On = t.On || on
		t.Field, t.At = field, Span{m.NameAt, m.ValueEnds}
	}
}
