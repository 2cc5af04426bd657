package flaw

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// say has a checker read a text as a stream brings it.
func say(c *Checker, text string) error {
	for len(text) > 0 {
		n := min(len(text), 5)
		c.Said.Text = append(c.Said.Text, text[:n]...)
		text = text[n:]
		if c.IsDue() {
			if err := c.Read(); err != nil {
				return err
			}
		}
	}
	return nil
}

// A text that is too long to be kept is not checked as a whole, and takes no memory.
func TestChecker_Bound(t *testing.T) {
	c := New(Rules{Format: Object, Check: func([]byte, []byte) error { return errors.New("called") }, Schema: []byte("{}")})
	if err := say(c, "{"+strings.Repeat(" \t", MaxText)); err != nil {
		t.Fatal(err)
	}
	if len(c.text)+cap(c.decoded) > 2*batch {
		t.Errorf("%d bytes are kept", len(c.text)+cap(c.decoded))
	}
	if err := c.End(false); err != nil {
		t.Errorf("a text that nobody kept is flawed: %v", err)
	}
	c = New(Rules{Format: Object})
	if err := say(c, "{"+strings.Repeat(" ", MaxText-2)); err != nil {
		t.Fatal(err)
	}
	if err := c.End(false); !errors.Is(err, outcome.ErrFormat) {
		t.Errorf("got %v, want ErrFormat: the text is no longer than the bound", err)
	}
}

// A host may send whole texts without end. They are not kept.
func TestChecker_WholeAgainAndAgain(t *testing.T) {
	c := New(Rules{Repetition: 16 << 10})
	if err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c.Said.Whole = append(c.Said.Whole, strings.Repeat("x", 10<<10)...)
		if c.IsDue() {
			if err := c.Read(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := cap(c.Said.Whole); n > 64<<10 {
		t.Errorf("%d bytes are kept", n)
	}
}

// A stream of Responses may bring a text again, or only, as a whole.
func TestChecker_Whole(t *testing.T) {
	for name, tt := range map[string]struct {
		text, whole string
		want        error
	}{
		"again": {`{"a":1}`, `{"a":1}`, nil},
		"only":  {"", `{\"a\":1}`, nil},
		"none":  {"", "", outcome.ErrNoAnswer},
		"bad":   {"", "a", outcome.ErrFormat},
	} {
		c := New(Rules{Answer: true, Format: Object})
		err := say(c, tt.text)
		c.Said.Whole = append(c.Said.Whole, tt.whole...)
		if err == nil {
			err = c.End(false)
		}
		if !errors.Is(err, tt.want) || err != nil && tt.want == nil {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// A host may send any number of texts as a whole, behind their parts.
func TestChecker_LargeEvents(t *testing.T) {
	c := New(Rules{Answer: true})
	if err := say(c, "It begins."); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("a"), 1<<20)
	for range 20 {
		c.Said.Whole = append(c.Said.Whole, large...)
		c.Said.Reasoning = append(c.Said.Reasoning, large...)
		if !c.IsDue() {
			t.Fatal("it does not read a text that is large")
		}
		if err := c.Read(); err != nil {
			t.Fatal(err)
		}
	}
	if n := cap(c.Said.Whole) + cap(c.Said.Reasoning) + cap(c.Said.Text) + cap(c.decoded); n > 1<<18 {
		t.Errorf("%d bytes are kept", n)
	}
}

func TestChecker_Formats(t *testing.T) {
	for text, want := range map[string][2]bool{ // good as JSON, as an object
		`{}`: {true, true}, ` {"a":{}} `: {true, true}, `[1]`: {true, false}, `"a"`: {true, false}, `-1.5`: {true, false}, `null`: {true, false},
		`{`: {}, `{}{}`: {}, `nothing`: {}, `'a'`: {}, `{a:1}`: {}, `{"a":NaN}`: {}, "": {}, "\n": {}, "\u00a0{}": {}, "\ufeff{}": {},
	} {
		for i, format := range []Format{JSON, Object} {
			c := New(Rules{Format: format})
			err := say(c, strings.ReplaceAll(text, `"`, `\"`))
			if err == nil {
				err = c.End(false)
			}
			if (err == nil) != want[i] {
				t.Errorf("%q as %d: %v", text, format, err)
			}
		}
	}
}

// Hosts write the same in different ways.
func TestWhole(t *testing.T) {
	for _, tt := range []struct {
		wire wire.Wire
		body string
		good bool
	}{
		{wire.Chat, `{"choices":[{"message":{"content":"a"}}]}`, true},
		{wire.Chat, `{"choices":[{"message":{"content":[{"type":"text","text":"a"}]}}]}`, true},
		{wire.Chat, `{"choices":[{"message":{"content":[{"type":"thinking","thinking":"a"}]}}]}`, false},
		{wire.Chat, `{"choices":[{"message":{"content":null,"refusal":"no"}}]}`, true},
		{wire.Chat, `{"choices":[{"message":{"content":null,"tool_calls":[]}}]}`, false},
		{wire.Chat, `{"choices":[{"message":{"content":null,"function_call":{"name":"f"}}}]}`, true},
		{wire.Chat, `{"choices":[{"message":{"role":"assistant","content":" ","reasoning":"a","reasoning_content":"a","reasoning_details":[{"text":"a"}]}}]}`, false},
		{wire.Chat, `{"choices":[{"message":{"content":"a"}},{"message":{"content":""}}]}`, false},
		{wire.Chat, `{"choices":[{"text":"a"}]}`, true},
		{wire.Responses, `{"output":[{"type":"reasoning","encrypted_content":"x","summary":[]}]}`, false},
		{wire.Responses, `{"output":[{"type":"reasoning"},{"type":"web_search_call"}]}`, true},
		{wire.Responses, `{"output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}`, true},
		{wire.Responses, `{"output":[{"type":"message","content":[]}]}`, false},
		{wire.Messages, `{"content":[{"type":"redacted_thinking","data":"x"}]}`, false},
		{wire.Messages, `{"content":[{"type":"thinking","thinking":"a"},{"type":"server_tool_use"}]}`, true},
		{wire.Messages, `{"content":[{"type":"thinking","thinking":"a"},{"type":"text","text":"b"}]}`, true},
	} {
		if err := Whole(Rules{Answer: true}, tt.wire, []byte(tt.body), false); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.body, err)
		}
	}
}

// FuzzUnescape compares with a parser.
func FuzzUnescape(f *testing.F) {
	for _, text := range []string{"", `a\n\"\\\/\b\f\r\t`, `\u4f60\u597d`, `\ud83c\udf89`, `\ud83c`, `\ud83cx`, `\ud83c\n`, `\udf89\ud83c\udf89`, `\u00`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		got := string(unescape(nil, []byte(inner)))
		quoted := `"` + inner + `"`
		var want string
		if !gjson.Valid(quoted) || !utf8.ValidString(inner) || json.Unmarshal([]byte(quoted), &want) != nil {
			return // it must not panic
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", inner, got, want)
		}
	})
}

func TestChecker_Memory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := New(Rules{Repetition: 16 << 10, Answer: true})
	text := strings.Repeat("x", 64)
	for range 10_000 {
		c.Said.Reasoning = append(c.Said.Reasoning, text...)
		if c.IsDue() {
			c.Read()
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<10 {
		t.Errorf("640 KB of reasoning took %d bytes", n)
	}
}
