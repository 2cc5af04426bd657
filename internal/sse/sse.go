// Package sse splits a stream of bytes into server-sent events, without copying them and
// without changing what it passes on, except for comment lines. A Scanner has the state of
// one stream and is not safe for concurrent use. It knows no HTTP; any package may use it.
//
// Lines end in LF or CRLF. The specification also allows a CR alone
// (https://html.spec.whatwg.org/multipage/server-sent-events.html), which none of the SDKs'
// parsers accepts. If the first line ends so, each CR becomes an LF.
//
// Some hosts do not keep to the specification. A Scanner also understands events that a
// single line end parts (llama.cpp's proxies), a field named error in place of data
// (llama.cpp), JSON without a field, and a comment with a status in an event that is an error
// (Bailian).
package sse

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// ErrTooLong reports an event larger than the scanner's bound.
var ErrTooLong = errors.New("event too long")

// Kind says what an Event is.
type Kind uint8

const (
	Data    Kind = iota // at least one field line
	Comment             // one comment line; the blank line that ends it is part of it
	Blank               // a blank line on its own
)

// An Event is one block of lines. It is valid until the next event, and its slices, which
// point into the scanner's buffer, until the next Fill.
type Event struct {
	Kind  Kind
	Raw   []byte // what to pass on: the original block, without comment lines
	Data  []byte // the values of its data lines, joined by LF
	One   bool   // Data is a single line
	Error bool   // its name is "error", or that of a field
	// Status is the HTTP status that a comment of an error states, as ":HTTP_STATUS/429";
	// 0: none does.
	Status int
}

// A Scanner collects bytes and splits them into events. New makes one.
type Scanner struct {
	buf        []byte
	start, end int // unread bytes
	full       int // how many Fills left no space
	line       int // start of the current line
	seen       int // bytes already searched for that line's end
	block      block
	max        int  // the most bytes of one event
	comments   bool // pass comment lines on
	swallow    bool // the last line was a comment on its own, so its blank line is dropped, too
	begun      bool // the first bytes were searched for a byte order mark
	ends       ends // of lines
	event      Event
}

// A block is what the lines between start and line say.
type block struct {
	values   int  // number of data lines
	from, to int  // where the value of the first one is, from start
	comments bool // there are comment lines
	error    bool // a line names the event an error
	status   int  // that a comment states
}

const (
	// firstBuffer has space for a few events. Many streams wait for their next event at
	// once, most of the time.
	firstBuffer = 1 << 10
	// fastBuffer is the least size after manyFull Fills that left no space: the events come
	// faster than they are read.
	fastBuffer = 4 << 10
	manyFull   = 8
	// largeBuffer is the size above which a buffer that a large event needed is not kept
	// for small ones.
	largeBuffer = 64 << 10
)

// New returns a Scanner that fails on events above max bytes and passes
// comments on if keepComments is set.
func New(max int, keepComments bool) *Scanner {
	return &Scanner{max: max, comments: keepComments}
}

// ends are the line ends of a stream.
type ends uint8

const (
	unknown    ends = iota // no line has ended
	oneReturn              // a CR came last
	twoReturns             // two of them
	returns                // a CR alone ends a line
	lineFeeds              // LF or CRLF
)

// replaceReturns finds out how lines end in what a Fill has read, and makes each CR an LF if it
// ends a line alone.
func (s *Scanner) replaceReturns(text []byte) {
	for i, b := range text {
		switch {
		case s.ends == returns:
			if b == '\r' {
				text[i] = '\n'
			}
		case b == '\n':
			s.ends = lineFeeds
			return
		case b == '\r' && s.ends < twoReturns:
			s.ends++
		case s.ends != unknown:
			at := s.end + i
			from := at - int(s.ends)
			for j := from; j < at; j++ {
				s.buf[j] = '\n'
			}
			s.ends, s.seen = returns, min(s.seen, from)
			if b == '\r' {
				text[i] = '\n'
			}
		}
	}
}

// Fill reads once from r into the buffer. It invalidates all events returned so far.
func (s *Scanner) Fill(r io.Reader) (int, error) {
	s.makeRoom()
	n, err := r.Read(s.buf[s.end:])
	if s.ends != lineFeeds {
		s.replaceReturns(s.buf[s.end : s.end+n])
	}
	s.end += n
	if s.end == len(s.buf) {
		s.full++
	}
	return n, err
}

func (s *Scanner) makeRoom() {
	if s.start == s.end && len(s.buf) >= largeBuffer {
		s.buf, s.start, s.end, s.line, s.seen, s.event = nil, 0, 0, 0, 0, Event{}
	}
	if s.start > 0 && (s.start == s.end || s.end == len(s.buf)) {
		n := copy(s.buf, s.buf[s.start:s.end])
		s.line -= s.start
		s.seen -= s.start
		s.start, s.end = 0, n
	}
	size := len(s.buf)
	if s.end == size {
		size = max(firstBuffer, 2*size)
	}
	if s.full >= manyFull {
		size = max(fastBuffer, size)
	}
	if size > len(s.buf) {
		bigger := make([]byte, size)
		copy(bigger, s.buf[:s.end])
		s.buf = bigger
	}
}

// Next returns the next complete event, or nil if more bytes are needed.
func (s *Scanner) Next() (*Event, error) {
	if !s.begun && (s.end-s.start >= len(byteOrderMark) || bytes.IndexByte(s.Unread(), '\n') >= 0) {
		s.dropMark()
	}
	for {
		n := bytes.IndexByte(s.buf[s.seen:s.end], '\n') + 1
		if n == 0 {
			s.seen = s.end
			if s.end-s.start > s.max {
				return nil, ErrTooLong
			}
			return nil, nil
		}
		from, first := s.line, s.line == s.start
		line := trimCR(s.buf[from : s.seen+n-1])
		if s.endsBefore(line) {
			return s.cut(), nil
		}
		s.seen += n
		s.line = s.seen
		switch {
		case len(line) > 0 && line[0] != ':':
			s.block.add(line, from-s.start)
			if s.seen < s.end && s.buf[s.seen] == '\n' {
				s.seen++
				s.line = s.seen
				return s.cut(), nil
			}
		case !first && len(line) > 0:
			s.block.comments = true
			s.block.status = max(s.block.status, statusOf(line))
		case !first:
			return s.cut(), nil
		case len(line) > 0:
			// A comment between events is returned at once: it shows that the host is
			// alive, and an endless run of comments must not fill the buffer.
			s.swallow = true
			return s.skip(Comment, s.comments), nil
		case s.swallow && !s.comments:
			s.swallow = false
			return s.skip(Comment, false), nil
		default:
			s.swallow = false
			return s.skip(Blank, true), nil
		}
	}
}

// Unread returns the bytes that no event has been made of yet.
func (s *Scanner) Unread() []byte { return s.buf[s.start:s.end] }

// Take removes the first n unread bytes and returns them. The caller knows that they are an
// event.
func (s *Scanner) Take(n int) []byte {
	end := s.start + n
	raw := s.buf[s.start:end]
	s.start, s.line, s.seen = end, end, end
	s.block, s.swallow = block{}, false
	return raw
}

// TakeEvent is Take for an event with one line of data, which nobody needs.
func (s *Scanner) TakeEvent(n int) *Event {
	s.event = Event{Kind: Data, Raw: s.Take(n), One: true}
	return &s.event
}

// skip removes a line that is no part of a block from the buffer.
func (s *Scanner) skip(kind Kind, pass bool) *Event {
	s.event = Event{Kind: kind}
	if pass {
		s.event.Raw = s.buf[s.start:s.line]
	}
	s.start = s.line
	return &s.event
}

const byteOrderMark = "\ufeff"

// dropMark drops the byte order mark and the blanks before the first line, which parsers take for
// a part of it.
func (s *Scanner) dropMark() {
	head := bytes.TrimPrefix(s.Unread(), []byte(byteOrderMark))
	head = bytes.TrimLeft(head, " \t")
	s.begun = len(head) > 0
	s.start = s.end - len(head)
	s.line, s.seen = s.start, max(s.seen, s.start)
}

// endsBefore reports whether a line begins another event although no blank line ended the one
// before: both have a whole object as their data, or the terminator.
func (s *Scanner) endsBefore(line []byte) bool {
	b := &s.block
	if b.values != 1 || len(line) == 0 || line[0] == ':' {
		return false
	}
	value, isData := dataOf(line)
	if isData && (len(value) == 0 || value[0] != '{' && value[0] != '[') || !isData && !bytes.HasPrefix(line, []byte("event:")) {
		return false
	}
	last := s.buf[s.start+b.from : s.start+b.to]
	return len(last) > 1 && last[0] == '{' && last[len(last)-1] == '}'
}

// add notes what a line says that begins at from and is no comment.
func (b *block) add(line []byte, from int) {
	value, ok := dataOf(line)
	if !ok {
		named := false
		value, named, ok = errorOf(line)
		b.error = b.error || named || isError(line)
	}
	if !ok {
		return
	}
	if b.values++; b.values == 1 {
		b.to = from + len(line)
		b.from = b.to - len(value)
	}
}

// Rest returns what is left at the end of the stream as a last event, because some servers
// omit the blank line that should end it. It returns nil if nothing is left.
func (s *Scanner) Rest() *Event {
	if !s.begun {
		s.dropMark()
	}
	if s.start == s.end {
		return nil
	}
	s.line, s.seen = s.end, s.end
	return s.rewrite()
}

// cut removes the block between start and line from the buffer.
func (s *Scanner) cut() *Event {
	s.swallow = false
	b, ev := &s.block, &s.event
	if b.values > 1 || b.comments && !s.comments {
		return s.rewrite()
	}
	raw := s.buf[s.start:s.line]
	s.start = s.line
	ev.Kind, ev.Raw, ev.Data, ev.One, ev.Error, ev.Status = Data, raw, nil, true, b.error, b.status
	if b.values == 1 {
		ev.Data = raw[b.from:b.to]
	}
	*b = block{}
	return ev
}

// rewrite is cut for a block whose data has to be joined, or that has gaps where comment
// lines were.
func (s *Scanner) rewrite() *Event {
	text := s.buf[s.start:s.line]
	s.start = s.line
	s.event = Event{Kind: Data, One: true, Status: s.block.status}
	s.block = block{}
	ev := &s.event
	kept, values := 0, 0
	for rest := text; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		line := rest[:n]
		rest = rest[n:]
		if line[0] == ':' && !s.comments {
			continue
		}
		if kept != len(text)-len(rest)-n {
			copy(text[kept:], line)
		}
		line = text[kept : kept+n]
		kept += n
		line = trimCR(bytes.TrimSuffix(line, []byte("\n")))
		value, ok := dataOf(line)
		if !ok {
			named := false
			value, named, ok = errorOf(line)
			ev.Error = ev.Error || named
		}
		if ok {
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
	ev.Raw = text[:kept]
	return ev
}

// isError reports whether a line names the event an error.
func isError(line []byte) bool {
	name, ok := bytes.CutPrefix(line, []byte("event:"))
	if !ok {
		return false
	}
	name = bytes.TrimSpace(name)
	for _, one := range [...]string{"error", "exception", "failed", "failure"} {
		if len(name) == len(one) && bytes.EqualFold(name, []byte(one)) {
			return true
		}
	}
	return false
}

// errorOf returns the value of a line whose field is named error, or of one that is JSON without
// a field. isError: it is the former.
func errorOf(line []byte) (value []byte, isError, ok bool) {
	if value, ok = bytes.CutPrefix(line, []byte("error:")); ok {
		return bytes.TrimPrefix(value, []byte(" ")), true, true
	}
	return line, false, len(line) > 1 && (line[0] == '{' || line[0] == '[')
}

// statusOf returns the status that a comment states, 0 if it states none.
func statusOf(comment []byte) int {
	digits, ok := bytes.CutPrefix(bytes.TrimLeft(comment, ": "), []byte("HTTP_STATUS/"))
	if !ok || len(digits) != 3 {
		return 0
	}
	status, err := strconv.Atoi(string(digits))
	if err != nil {
		return 0
	}
	return status
}

// dataOf returns the value of a data line, which comes without its end.
func dataOf(line []byte) ([]byte, bool) {
	const name = "data"
	if len(line) < len(name) || string(line[:len(name)]) != name {
		return nil, false
	}
	switch value := line[len(name):]; {
	case len(value) == 0:
		return value, true
	case value[0] != ':':
		return nil, false
	case len(value) > 1 && value[1] == ' ':
		return value[2:], true
	default:
		return value[1:], true
	}
}

// EndsBlock reports whether a text ends with the blank line that ends an event.
func EndsBlock(text []byte) bool {
	n := len(text)
	if n < 2 || text[n-1] != '\n' {
		return false
	}
	return text[n-2] == '\n' || n > 2 && text[n-2] == '\r' && text[n-3] == '\n'
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
