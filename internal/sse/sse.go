// Package sse splits a stream of bytes into server-sent events, without copying them and
// without changing what it passes on, except for comment lines. A Scanner has the state of
// one stream and is not safe for concurrent use. It knows no HTTP; any package may use it.
//
// Lines end in LF or CRLF. A CR alone, which the specification also allows
// (https://html.spec.whatwg.org/multipage/server-sent-events.html), ends no line here,
// because none of the SDKs' parsers accepts it.
package sse

import (
	"bytes"
	"errors"
	"io"
)

// ErrTooLong reports an event larger than the scanner's bound.
var ErrTooLong = errors.New("event too long")

// Kind says what an Event is.
type Kind int

const (
	Data    Kind = iota // at least one field line
	Comment             // one comment line; the blank line that ends it is part of it
	Blank               // a blank line on its own
)

// An Event is one block of lines. Its slices point into the scanner's buffer and are valid
// until the next Fill.
type Event struct {
	Kind  Kind
	Raw   []byte // what to pass on: the original block, without comment lines
	Data  []byte // the values of its data lines, joined by LF
	One   bool   // Data is a single line
	Error bool   // its name is "error"
}

// A Scanner collects bytes and splits them into events. New makes one.
type Scanner struct {
	buf        []byte
	start, end int  // unread bytes
	line       int  // start of the current line
	seen       int  // bytes already searched for that line's end
	max        int  // the most bytes of one event
	comments   bool // pass comment lines on
	swallow    bool // the last line was a comment on its own, so its blank line is dropped, too
}

const (
	// firstBuffer has space for a few events. Many streams wait for their next event at
	// once, most of the time.
	firstBuffer = 1 << 10
	// largeBuffer is the size above which a buffer that a large event needed is not kept
	// for small ones.
	largeBuffer = 64 << 10
)

// New returns a Scanner that fails on events above max bytes and passes
// comments on if keepComments is set.
func New(max int, keepComments bool) *Scanner {
	return &Scanner{max: max, comments: keepComments}
}

// Fill reads once from r into the buffer. It invalidates all events returned so far.
func (s *Scanner) Fill(r io.Reader) (int, error) {
	s.makeRoom()
	n, err := r.Read(s.buf[s.end:])
	s.end += n
	return n, err
}

func (s *Scanner) makeRoom() {
	if s.start == s.end && len(s.buf) >= largeBuffer {
		s.buf, s.start, s.end, s.line, s.seen = nil, 0, 0, 0, 0
	}
	if s.start > 0 && (s.start == s.end || s.end == len(s.buf)) {
		n := copy(s.buf, s.buf[s.start:s.end])
		s.line -= s.start
		s.seen -= s.start
		s.start, s.end = 0, n
	}
	if s.end == len(s.buf) {
		bigger := make([]byte, max(firstBuffer, 2*len(s.buf)))
		copy(bigger, s.buf[:s.end])
		s.buf = bigger
	}
}

// Next returns the next complete event, or false if more bytes are needed.
func (s *Scanner) Next() (Event, bool, error) {
	for {
		i := bytes.IndexByte(s.buf[s.seen:s.end], '\n')
		if i < 0 {
			s.seen = s.end
			if s.end-s.start > s.max {
				return Event{}, false, ErrTooLong
			}
			return Event{}, false, nil
		}
		first := s.line == s.start
		line := trimCR(s.buf[s.line : s.seen+i])
		s.seen += i + 1
		s.line = s.seen
		switch {
		case first && len(line) == 0:
			ev := Event{Kind: Blank, Raw: s.buf[s.start:s.line]}
			if s.swallow && !s.comments {
				ev = Event{Kind: Comment}
			}
			s.swallow = false
			s.start = s.line
			return ev, true, nil
		case first && line[0] == ':':
			// A comment between events is returned at once: it shows that the host is
			// alive, and an endless run of comments must not fill the buffer.
			ev := Event{Kind: Comment}
			if s.comments {
				ev.Raw = s.buf[s.start:s.line]
			}
			s.swallow = true
			s.start = s.line
			return ev, true, nil
		case first && s.seen < s.end && s.buf[s.seen] == '\n':
			// One line and the blank one after it, which most events are.
			s.seen++
			block := s.buf[s.start:s.seen]
			s.swallow = false
			s.start, s.line = s.seen, s.seen
			data, _ := dataOf(block[:len(block)-1])
			return Event{Kind: Data, Raw: block, Data: data, One: true}, true, nil
		case len(line) == 0:
			s.swallow = false
			return s.cut(), true, nil
		}
	}
}

// Rest returns what is left at the end of the stream as a last event, because some servers
// omit the blank line that should end it.
func (s *Scanner) Rest() (Event, bool) {
	if s.start == s.end {
		return Event{}, false
	}
	s.line, s.seen = s.end, s.end
	return s.cut(), true
}

// cut removes the block between start and line from the buffer, and closes the gaps of
// comment lines.
func (s *Scanner) cut() Event {
	block := s.buf[s.start:s.line]
	s.start = s.line
	ev := Event{Kind: Data, One: true}
	kept, values := 0, 0
	for rest := block; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		line := rest[:n]
		rest = rest[n:]
		if line[0] == ':' && !s.comments {
			continue
		}
		if kept != len(block)-len(rest)-n {
			copy(block[kept:], line)
		}
		line = block[kept : kept+n]
		kept += n
		if value, ok := dataOf(line); ok {
			switch values++; values {
			case 1:
				ev.Data = value
			case 2: // from here on, the data is a copy
				ev.One = false
				ev.Data = bytes.Clone(ev.Data)
				fallthrough
			default:
				ev.Data = append(append(ev.Data, '\n'), value...)
			}
		} else if isError(line) {
			ev.Error = true
		}
	}
	ev.Raw = block[:kept]
	return ev
}

// isError reports whether a line names the event an error.
func isError(line []byte) bool {
	name, ok := bytes.CutPrefix(line, []byte("event:"))
	return ok && string(bytes.TrimSpace(name)) == "error"
}

// dataOf returns the value of a data line.
func dataOf(line []byte) ([]byte, bool) {
	if len(line) < len("data") || string(line[:len("data")]) != "data" {
		return nil, false
	}
	value := line[len("data"):]
	if n := len(value); n > 0 && value[n-1] == '\n' {
		value = value[:n-1]
	}
	value = trimCR(value)
	switch {
	case len(value) == 0:
		return value, true
	case value[0] != ':':
		return nil, false
	case len(value) > 1 && value[1] == ' ':
		return value[2:], true
	}
	return value[1:], true
}

// EndsBlock reports whether a text ends with the blank line that ends an event.
func EndsBlock(text []byte) bool {
	return bytes.HasSuffix(text, []byte("\n\n")) || bytes.HasSuffix(text, []byte("\n\r\n"))
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
