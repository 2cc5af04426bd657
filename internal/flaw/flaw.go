// Package flaw finds answers that are complete in form but of no use: those that repeat
// themselves without end, that have neither text nor a tool call, or that are not in the format
// that was asked for. A Checker reads one answer and is not safe for concurrent use. The package
// knows no HTTP, no endpoints and no layers.
package flaw

import (
	"bytes"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/repetition"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// Rules say what to look for in the answers to one call. The zero value looks for nothing.
type Rules struct {
	Repetition int    // bytes that may repeat themselves; 0: any number
	Answer     bool   // there must be text or a tool call
	Format     Format // that the text must have
	Tools      bool   // the answer may have text before a tool call, in any format

	// Schema is what Check gets with a text in the format JSON. Check returns an error if the
	// text is not of the schema. nil: nothing is checked.
	Schema []byte
	Check  func(schema, text []byte) error
}

// A Format is the format of a text.
type Format uint8

const (
	Any    Format = iota // whatever it is
	JSON                 // a JSON text
	Object               // a JSON text that is an object
)

const (
	// MaxText is how much of a stream's text is kept to check its format, in bytes. Of a longer
	// text, only the beginning is checked.
	MaxText = 1 << 20
	// batch is how much of a stream is read at once, in bytes: to read each event would cost
	// more.
	batch = 256
)

// A Checker reads one answer.
type Checker struct {
	Said wire.Said // what the latest events have said; the owner lets the wire record it

	rules      Rules
	repetition *repetition.Detector // nil: any repetition is good
	text       []byte               // to check its format
	tooLong    bool                 // for its format to be checked
	spoke      bool                 // there was text that is not blank
	other      bool                 // there was a tool call, or the like
	decoded    []byte               // space for the text that is read
}

// New returns a checker of one answer.
func New(rules Rules) *Checker {
	c := &Checker{rules: rules}
	if rules.Repetition > 0 {
		c.repetition = repetition.New(rules.Repetition)
	}
	return c
}

// IsDue reports whether Said has enough for Read. Whole counts even if Read passes it over: a
// host may send any number of them.
func (c *Checker) IsDue() bool {
	s := &c.Said
	return len(s.Text)+len(s.Reasoning)+len(s.Whole) >= batch || !c.spoke && len(s.Text)+len(s.Whole) > 0
}

// End returns an error if an answer that is complete is flawed. partial: its text was cut, as
// the host says.
func (c *Checker) End(partial bool) error {
	if err := c.Read(); err != nil || partial || c.other {
		return err
	}
	switch {
	case c.rules.Answer && !c.spoke:
		return outcome.ErrNoAnswer
	case c.rules.Format != Any && !c.tooLong:
		return c.format()
	}
	return nil
}

// Read reads what was said, and empties it. It returns an error if that shows that the answer is
// flawed.
func (c *Checker) Read() error {
	s := &c.Said
	c.other = c.other || s.Other
	text := s.Text
	if !c.spoke && len(text) == 0 {
		text = s.Whole
	}
	endless := c.repeats(s.Reasoning)
	err := c.add(text)
	s.Text, s.Reasoning, s.Whole, s.Other = emptied(s.Text), emptied(s.Reasoning), emptied(s.Whole), false
	c.decoded = emptied(c.decoded)
	if endless {
		return outcome.ErrRepetition
	}
	return err
}

// emptied returns a buffer to be filled again. A large one, of an event that was unusually long,
// is not kept.
func emptied(buffer []byte) []byte {
	const large = 64 << 10
	if cap(buffer) > large {
		return nil
	}
	return buffer[:0]
}

// repeats reads reasoning, in JSON's escapes.
func (c *Checker) repeats(escaped []byte) bool {
	if c.repetition == nil || len(escaped) == 0 {
		return false
	}
	c.decoded = unescape(c.decoded[:0], escaped)
	return c.repetition.Add(c.decoded)
}

// add reads text, in JSON's escapes.
func (c *Checker) add(escaped []byte) error {
	if len(escaped) == 0 {
		return nil
	}
	c.decoded = unescape(c.decoded[:0], escaped)
	began := c.spoke
	c.spoke = began || len(blank(c.decoded)) < len(c.decoded)
	if c.repetition != nil && c.repetition.Add(c.decoded) {
		return outcome.ErrRepetition
	}
	if c.rules.Format == Any || c.tooLong {
		return nil
	}
	if !began && c.spoke && !c.rules.Tools && !c.begins(c.decoded[len(blank(c.decoded))]) {
		return outcome.ErrFormat
	}
	if len(c.text)+len(c.decoded) > MaxText {
		c.tooLong, c.text = true, nil
		return nil
	}
	c.text = append(c.text, c.decoded...)
	return nil
}

// begins reports whether a text in the format may begin with b.
func (c *Checker) begins(b byte) bool {
	return b == '{' || c.rules.Format == JSON && bytes.IndexByte([]byte(`["-0123456789tfn`), b) >= 0
}

// blank returns the blanks that a text begins with.
func blank(text []byte) []byte {
	return text[:len(text)-len(bytes.TrimLeft(text, " \t\r\n"))]
}

// format returns an error if the text does not have its format.
func (c *Checker) format() error {
	text := bytes.TrimSpace(c.text)
	if !wire.Valid(text) || !c.begins(text[0]) {
		return outcome.ErrFormat
	}
	if len(c.rules.Schema) == 0 || c.rules.Check == nil {
		return nil
	}
	if err := c.rules.Check(c.rules.Schema, text); err != nil {
		return outcome.Broken(outcome.ErrFormat, err)
	}
	return nil
}
