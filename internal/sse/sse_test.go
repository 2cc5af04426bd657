package sse

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// events runs a stream through a Scanner, reading with r's chunking.
func events(t testing.TB, r io.Reader, max int, comments bool) (data []string, raw string, err error) {
	s := New(max, comments)
	for {
		ev, err := s.Next()
		if err != nil {
			return data, raw, err
		}
		if ev != nil {
			raw += string(ev.Raw)
			if ev.Data != nil {
				data = append(data, string(ev.Data))
			}
			continue
		}
		if _, err := s.Fill(r); err == io.EOF {
			if ev := s.Rest(); ev != nil {
				raw += string(ev.Raw)
				if ev.Data != nil {
					data = append(data, string(ev.Data))
				}
			}
			return data, raw, nil
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestScanner(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		data     []string
		raw      string
	}{
		{"two events", "data: a\n\ndata: b\n\n", []string{"a", "b"}, "data: a\n\ndata: b\n\n"},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}, "data: a\r\n\r\ndata: b\r\n\r\n"},
		{"no space after the colon", "data:a\n\n", []string{"a"}, "data:a\n\n"},
		{"comments between events go with their blank line", ": keep-alive\n\ndata: a\n\n: keep-alive\n\n", []string{"a"}, "data: a\n\n"},
		{"comments inside an event go", "event: x\n: c\ndata: a\n: d\n\n", []string{"a"}, "event: x\ndata: a\n\n"},
		{"a comment before an event without a blank line", ": c\ndata: a\n\n", []string{"a"}, "data: a\n\n"},
		{"several data lines are one value", "data: a\ndata: b\n\n", []string{"a\nb"}, "data: a\ndata: b\n\n"},
		{"data without a colon is empty", "data\n\n", []string{""}, "data\n\n"},
		{"other fields are passed on", "id: 7\nretry: 9\n\n", nil, "id: 7\nretry: 9\n\n"},
		{"blank lines are passed on", "\n\ndata: a\n\n", []string{"a"}, "\n\ndata: a\n\n"},
		{"the last blank line is missing", "data: a\n\ndata: [DONE]\n", []string{"a", "[DONE]"}, "data: a\n\ndata: [DONE]\n"},
		{"the last line end is missing", "data: a", []string{"a"}, "data: a"},
		{"one CR belongs to the line end, another does not", "data: a\r\r\n\ndata: b\r\n\n", []string{"a\r", "b"}, "data: a\r\r\n\ndata: b\r\n\n"},
		{"a field of one line that is no data", "id: 7\n\ndata:\n\n: c\n\ndata\n\n\n", []string{"", ""}, "id: 7\n\ndata:\n\ndata\n\n\n"},
		{"a CR alone", "data: a\r\rdata: b\r\r", []string{"a", "b"}, "data: a\n\ndata: b\n\n"},
		{"a CR alone, and three of them", "\r\r\rdata: a\r: c\rdata: b\r\r", []string{"a\nb"}, "\n\n\ndata: a\ndata: b\n\n"},
		{"JSON without a field", "data: {}\n\n{\"error\":1}\n\n", []string{"{}", `{"error":1}`}, "data: {}\n\n{\"error\":1}\n\n"},
		{"names that only begin with data", "database: a\n\n", nil, "database: a\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(tt.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			} {
				data, raw, err := events(t, r, 1<<20, false)
				if err != nil || !slices.Equal(data, tt.data) || raw != tt.raw {
					t.Errorf("%s: events(%q) = %q, %q, %v, want %q, %q", name, tt.in, data, raw, err, tt.data, tt.raw)
				}
			}
		})
	}
}

func TestScannerKeepsComments(t *testing.T) {
	const in = ": a\n\ndata: x\n: b\n\n\n: c\n"
	if _, raw, err := events(t, strings.NewReader(in), 1<<20, true); raw != in || err != nil {
		t.Errorf("events(%q) passed on %q, %v, want all of it", in, raw, err)
	}
}

// An endless line must not be collected for ever, endless comments not at all.
func TestScannerIsBounded(t *testing.T) {
	endless := io.LimitReader(repeat("data: aaaaaaaa"), 1<<20)
	if _, _, err := events(t, endless, 64<<10, false); err != ErrTooLong {
		t.Errorf("endless line: err = %v, want ErrTooLong", err)
	}
	s := New(64<<10, false)
	comments := io.LimitReader(repeat(": keep-alive\n"), 4<<20)
	for {
		if ev, err := s.Next(); err != nil {
			t.Fatalf("endless comments: %v", err)
		} else if ev != nil {
			continue
		}
		if _, err := s.Fill(comments); err != nil {
			break
		}
	}
	if len(s.buf) > 64<<10 {
		t.Errorf("endless comments: the buffer grew to %d bytes", len(s.buf))
	}
}

// Only a stream that comes faster than it is read gets a larger buffer.
func TestScanner_BufferFitsTheStream(t *testing.T) {
	for _, tt := range []struct {
		name  string
		r     io.Reader
		times int
		want  int
	}{
		{"an event at a time", &chunks{bytes.Repeat([]byte("data: a\n\n"), 1000), 9}, 1000, firstBuffer},
		{"much at once, for a moment", repeat("data: a\n\n"), manyFull - 1, firstBuffer},
		{"much at once", repeat("data: a\n\n"), 100, fastBuffer},
	} {
		s := New(1<<20, false)
		for range tt.times {
			if _, err := s.Fill(tt.r); err != nil {
				t.Fatal(err)
			}
			for {
				if ev, err := s.Next(); err != nil {
					t.Fatal(err)
				} else if ev == nil {
					break
				}
			}
		}
		if len(s.buf) != tt.want {
			t.Errorf("%s: the buffer has %d bytes, want %d", tt.name, len(s.buf), tt.want)
		}
	}
}

type repeat string

func (r repeat) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

// FuzzScanner compares the scanner, fed in chunks, with a plain reading of
// the whole text.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("data: a\n\n: c\n\ndata: b\r\n\r\n"), uint8(3))
	f.Add([]byte("data: a\r\r\n\nid: 7\n\n: c\ndata:\n\ndata\n\n\n"), uint8(60))
	f.Add([]byte("\r\rdata: {}\rdata: {}\r\r"), uint8(1))
	f.Add([]byte("\ufeffdata: {}\nerror: a\n{}\nevent: x\n[1]\n\n"), uint8(5))
	f.Add([]byte("\n\n: x\ndata\n: y\n\nid: 1\ndata:  z"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, chunk uint8) {
		data, raw, err := events(t, &chunks{in, int(chunk)%64 + 1}, 1<<30, false)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		var wantRaw bytes.Buffer
		var value []string
		open, swallow := false, false
		for line := range bytes.Lines(bytes.TrimLeft(bytes.TrimPrefix(plainEnds(in), []byte(byteOrderMark)), " \t")) {
			text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			whole := bytes.HasSuffix(line, []byte("\n"))
			if !whole { // an unfinished line keeps its CR out of the value all the same
				text = bytes.TrimSuffix(line, []byte("\r"))
			}
			switch {
			case len(text) == 0 && whole:
				if open && value != nil {
					want = append(want, strings.Join(value, "\n"))
				}
				if open || !swallow {
					wantRaw.Write(line)
				}
				open, swallow, value = false, false, nil
			case len(text) > 0 && text[0] == ':':
				swallow = !open || swallow
			default:
				wantRaw.Write(line)
				open, swallow = true, false
				rest, isData := bytes.CutPrefix(text, []byte("data"))
				isData = isData && (len(rest) == 0 || rest[0] == ':')
				rest = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte(":")), []byte(" "))
				begins := isData && len(rest) > 0 && (rest[0] == '{' || rest[0] == '[') || !isData && bytes.HasPrefix(text, []byte("event:"))
				if whole && begins && len(value) == 1 && len(value[0]) > 1 && value[0][0] == '{' && strings.HasSuffix(value[0], "}") {
					want, value = append(want, value[0]), nil
				}
				switch {
				case isData:
					value = append(value, string(rest))
				case bytes.HasPrefix(text, []byte("error:")):
					value = append(value, string(bytes.TrimPrefix(text[len("error:"):], []byte(" "))))
				case len(text) > 1 && (text[0] == '{' || text[0] == '['):
					value = append(value, string(text))
				}
			}
		}
		if value != nil {
			want = append(want, strings.Join(value, "\n"))
		}
		if !slices.Equal(data, want) || raw != wantRaw.String() {
			t.Errorf("events(%q) = %q, %q, want %q, %q", in, data, raw, want, wantRaw.String())
		}
	})
}

// plainEnds is a text whose first line end shows that a CR alone ends lines, with LFs.
func plainEnds(text []byte) []byte {
	i := bytes.IndexAny(text, "\r\n")
	if i < 0 || text[i] == '\n' {
		return text
	}
	n := 1
	if i+1 < len(text) && text[i+1] == '\r' {
		n = 2
	}
	if i+n == len(text) || text[i+n] == '\n' {
		return text
	}
	return bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
}

type chunks struct {
	rest []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// BenchmarkScanner is one event that comes by itself.
func BenchmarkScanner(b *testing.B) {
	event := "data: " + strings.Repeat("a", 240) + "\n\n"
	s := New(1<<20, false)
	r := strings.NewReader("")
	b.ReportAllocs()
	b.SetBytes(int64(len(event)))
	for b.Loop() {
		r.Reset(event)
		s.Fill(r)
		if ev, err := s.Next(); ev == nil {
			b.Fatal(err)
		}
	}
}
