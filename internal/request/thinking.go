package request

import (
	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// Thinking is what a request says about whether the model should think before it answers.
type Thinking struct {
	On    bool          // one of the fields asks for thinking
	Field ThinkingField // the last field that says whether to think
	there uint8         // the fields that are present, even if null: one bit each
	At    Span          // Field with its name; zero: there is none, or there are several
}

// Has reports whether the request has a field, whatever its value.
func (t *Thinking) Has(f ThinkingField) bool { return t.there&(1<<f) != 0 }

// Mode returns whether the request asks for thinking.
func (t *Thinking) Mode() ThinkingMode {
	switch {
	case t.On:
		return ThinkingOn
	case t.Field != ThinkingUnknown:
		return ThinkingOff
	}
	return ThinkingUnsaid
}

// A ThinkingMode says whether a request asks for thinking, which takes longer.
type ThinkingMode int

const (
	ThinkingUnsaid ThinkingMode = iota // the model's default
	ThinkingOff
	ThinkingOn
)

// A ThinkingField is the field by which a host is told whether to think.
type ThinkingField uint8

const (
	ThinkingUnknown ThinkingField = iota // no such field is known
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

// thinking reads a field that may say whether to think.
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
