package recording

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The text of an exchange has lines. Those of data begin with a mark:
//
//	|text    a line, which ends in \n
//	:text    text without \n at its end
//	"text"   bytes as a Go string
//	=text    bytes in base64
//
// Two spaces begin a header, or the error that the line before announces. A plus begins what
// happened, with its time since the beginning of the request.
const (
	firstLine = "breakwater-record 1"
	timeForm  = time.RFC3339Nano
)

// Append appends the text of the exchange.
func (x *Exchange) Append(dst []byte) []byte {
	dst = fmt.Appendf(dst, "%s\nat %s\n%s %s\n", firstLine, x.At.UTC().Format(timeForm), x.Method, x.URL)
	dst = appendHeader(dst, x.Header)
	dst = fmt.Appendf(dst, "body %s\n", x.Sent)
	dst = appendData(dst, x.Body)
	if r := x.Response; r != nil {
		dst = fmt.Appendf(dst, "+%s %s %s\n", r.After, r.Proto, r.Status)
		dst = appendHeader(dst, r.Header)
		dst = fmt.Appendf(dst, "length %d\n", r.Length)
		if r.Uncompressed {
			dst = append(dst, "uncompressed\n"...)
		}
		for _, read := range r.Reads {
			dst = fmt.Appendf(dst, "+%s\n", read.After)
			dst = appendData(dst, read.Data)
		}
	}
	dst = fmt.Appendf(dst, "+%s %s\n", x.EndAfter, x.End)
	if x.Err != nil {
		dst = append(append(append(dst, "  "...), encodeError(x.Err)...), '\n')
	}
	if r := x.Response; r != nil {
		dst = appendHeader(dst, r.Trailer)
	}
	return dst
}

func appendHeader(dst []byte, h http.Header) []byte {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			if strings.HasPrefix(v, `"`) || strings.TrimSpace(v) != v || !isPlain([]byte(v)) {
				v = strconv.Quote(v)
			}
			dst = fmt.Appendf(dst, "  %s: %s\n", name, v)
		}
	}
	return dst
}

// isPlain reports whether an editor shows the text as it is, and leaves it so.
func isPlain(text []byte) bool {
	return utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool {
		return r != '\t' && r != ' ' && (!unicode.IsPrint(r) || r == '\ufeff')
	})
}

// appendData writes data as lines. What is not text is in base64, unless most of it is text.
func appendData(dst, data []byte) []byte {
	strange := 0
	for _, b := range data {
		if b < ' ' && b != '\n' && b != '\r' && b != '\t' {
			strange++
		}
	}
	if strange > len(data)/8 || !utf8.Valid(data) && len(data) > 64 && strange > len(data)/32 {
		for part := range slices.Chunk(data, 57) {
			dst = append(base64.StdEncoding.AppendEncode(append(dst, '='), part), '\n')
		}
		return dst
	}
	for line := range bytes.Lines(data) {
		text, whole := bytes.CutSuffix(line, []byte{'\n'})
		switch {
		case !isPlain(text):
			dst = append(strconv.AppendQuote(dst, string(line)), '\n')
		case whole:
			dst = append(append(append(dst, '|'), text...), '\n')
		default:
			dst = append(append(append(dst, ':'), text...), '\n')
		}
	}
	return dst
}

// A SyntaxError says where a text is no recording, and why.
type SyntaxError struct {
	Line   int
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Parse reads the text of any number of exchanges. An error is a *SyntaxError.
func Parse(text []byte) ([]*Exchange, error) {
	p := &parser{}
	for line := range bytes.Lines(text) {
		p.lines = append(p.lines, strings.TrimRight(string(line), "\r\n"))
	}
	var all []*Exchange
	for p.skipBlank(); p.more(); p.skipBlank() {
		if x := p.exchange(); p.err == nil {
			all = append(all, x)
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return all, nil
}

// A parser stands before a line. After an error, no line is left.
type parser struct {
	lines []string
	at    int
	err   error
}

func (p *parser) more() bool { return p.err == nil && p.at < len(p.lines) }

func (p *parser) skipBlank() {
	for p.more() && p.lines[p.at] == "" {
		p.at++
	}
}

// fail notes what is wrong with the line before.
func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{p.at, fmt.Sprintf(format, args...)}
	}
}

// next returns the next line; what says what it should be.
func (p *parser) next(what string) string {
	if !p.more() {
		p.fail("the recording ends here, without %s", what)
		return ""
	}
	p.at++
	return p.lines[p.at-1]
}

// after returns what follows prefix on the next line.
func (p *parser) after(prefix string) string {
	line := p.next(fmt.Sprintf("a line %q", prefix+"…"))
	rest, ok := strings.CutPrefix(line, prefix)
	if !ok {
		p.fail("want a line that begins with %q", prefix)
	}
	return rest
}

// takes moves behind the next line if it is this one.
func (p *parser) takes(line string) bool {
	if p.more() && p.lines[p.at] == line {
		p.at++
		return true
	}
	return false
}

func (p *parser) exchange() *Exchange {
	x := &Exchange{}
	if line := p.next(firstLine); line != firstLine {
		p.fail("want %q: this is no recording, or one of a newer breakwater", firstLine)
	}
	var err error
	if x.At, err = time.Parse(timeForm, p.after("at ")); err != nil {
		p.fail("want a time as 2026-11-28T13:00:00Z")
	}
	var ok bool
	if x.Method, x.URL, ok = strings.Cut(p.next("a method and a URL"), " "); !ok || x.Method == "" {
		p.fail("want a method and a URL")
	}
	x.Header = p.header()
	switch x.Sent = Sent(p.after("body ")); x.Sent {
	case SentWhole, SentNone, SentPart, SentTooBig:
	default:
		p.fail("want body whole, unread, part or too-big")
	}
	x.Body = p.data()
	for p.err == nil && x.End == "" {
		p.event(x)
	}
	return x
}

// event reads one line that begins with a plus, and what belongs to it.
func (p *parser) event(x *Exchange) {
	word, rest, _ := strings.Cut(p.after("+"), " ")
	after, err := time.ParseDuration(word)
	if err != nil || after < 0 {
		p.fail("want a time as +1.5s")
		return
	}
	switch end := End(rest); {
	case strings.HasPrefix(rest, "HTTP/"):
		if x.Response != nil {
			p.fail("a second response")
		}
		x.Response = p.response(after, rest)
	case rest == "":
		data := p.data()
		switch {
		case x.Response == nil:
			p.fail("a body without a response")
		case len(data) == 0:
			p.fail("a read without data")
		default:
			x.Response.Reads = append(x.Response.Reads, Read{after, data})
		}
	case end == EndError:
		x.End, x.EndAfter, x.Err = end, after, p.error()
	case end == EndEOF, end == EndCanceled, end == EndClosed, end == EndTruncated, end == EndOpen, end == EndUpgraded:
		x.End, x.EndAfter = end, after
	default:
		p.fail("want a response, a read (nothing), or an end: EOF, error, canceled, closed, truncated, open or upgraded")
	}
	if x.End != "" && x.Response != nil {
		x.Response.Trailer = p.header()
	}
}

func (p *parser) response(after time.Duration, rest string) *Response {
	r := &Response{After: after}
	r.Proto, r.Status, _ = strings.Cut(rest, " ")
	if _, _, ok := http.ParseHTTPVersion(r.Proto); !ok || StatusCode(r.Status) == 0 {
		p.fail("want a response as HTTP/1.1 200 OK")
	}
	r.Header = p.header()
	var err error
	if r.Length, err = strconv.ParseInt(p.after("length "), 10, 64); err != nil || r.Length < -1 {
		p.fail("want the length of the body in bytes, or -1")
	}
	r.Uncompressed = p.takes("uncompressed")
	return r
}

// StatusCode returns the number in a status such as "200 OK", or 0 if there is none.
func StatusCode(status string) int {
	word, _, _ := strings.Cut(status, " ")
	code, err := strconv.Atoi(word)
	if err != nil || len(word) != 3 || code < 100 {
		return 0
	}
	return code
}

func (p *parser) error() error {
	err, ok := decodeError([]byte(p.after("  ")))
	if !ok {
		p.fail("want an error as JSON")
	}
	return err
}

func (p *parser) header() http.Header {
	h := make(http.Header)
	for p.more() && strings.HasPrefix(p.lines[p.at], "  ") {
		name, v, ok := strings.Cut(p.after("  "), ":")
		v = strings.TrimPrefix(v, " ")
		if strings.HasPrefix(v, `"`) {
			var err error
			if v, err = strconv.Unquote(v); err != nil {
				ok = false
			}
		}
		if !ok || name == "" {
			p.fail("want a header as Name: value")
		}
		h[name] = append(h[name], v)
	}
	return h
}

func (p *parser) data() (data []byte) {
	for p.more() && p.lines[p.at] != "" && strings.IndexByte("|:\"=", p.lines[p.at][0]) >= 0 {
		line := p.next("")
		switch line[0] {
		case '|':
			data = append(append(data, line[1:]...), '\n')
		case ':':
			data = append(data, line[1:]...)
		case '"':
			text, err := strconv.Unquote(line)
			if err != nil {
				p.fail("want bytes as a Go string")
			}
			data = append(data, text...)
		case '=':
			var err error
			if data, err = base64.StdEncoding.AppendDecode(data, []byte(line[1:])); err != nil {
				p.fail("want bytes in base64")
			}
		}
	}
	return data
}
