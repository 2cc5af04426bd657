package request

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unsafe"

	"github.com/breakwater-go/breakwater/internal/wire"
)

func TestOperationOf(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		want         Operation
		ok           bool
	}{
		{"POST", "/chat/completions", Chat, true},
		{"POST", "/v1/chat/completions", Chat, true},
		{"POST", "/beta/completions", Completions, true},
		{"POST", "/v1/responses", Responses, true},
		{"POST", "/v1/embeddings", Embeddings, true},
		{"POST", "/anthropic/v1/messages", Messages, true},
		{"POST", "/v1/threads/x/messages", "", false}, // OpenAI's Assistants
		{"POST", "/messages", "", false},
		{"POST", "/v1/messages/count_tokens", "", false},
		{"POST", "/v1/models", "", false},
		{"POST", "", "", false},
		{"GET", "/v1/chat/completions", "", false},
		{"OPTIONS", "/v1/chat/completions", "", false},
	} {
		req := httptest.NewRequest(tt.method, "https://host.test"+tt.path, nil)
		if op, ok := OperationOf(req); op != tt.want || ok != tt.ok {
			t.Errorf("OperationOf(%s %s) = %q, %v, want %q, %v", tt.method, tt.path, op, ok, tt.want, tt.ok)
		}
	}
	if op, ok := OperationOf(&http.Request{Method: "POST"}); ok {
		t.Errorf("OperationOf(no URL) = %q, want none", op)
	}
}

func TestOperation_Wire(t *testing.T) {
	for op, want := range map[Operation]wire.Wire{
		Chat: wire.Chat, Completions: wire.Chat, Responses: wire.Responses, Messages: wire.Messages, Embeddings: wire.Embeddings, "": wire.Chat,
	} {
		if got := op.Wire(); got != want {
			t.Errorf("Wire of %q = %v, want %v", op, got, want)
		}
	}
}

func TestSplice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edits []Edit
		want  string
	}{
		{"nothing", nil, "> 0123456789"},
		{"a span", []Edit{{Span{2, 4}, "xyz"}}, "> 01xyz456789"},
		{"out of order", []Edit{{Span{8, 9}, "b"}, {Span{0, 1}, "a"}}, "> a1234567b9"},
		{"an insertion", []Edit{{Span{5, 5}, "x"}}, "> 01234x56789"},
		{"one behind what is replaced", []Edit{{Span{4, 6}, "x"}, {Span{6, 6}, "y"}}, "> 0123xy6789"},
		{"a removal at the end", []Edit{{Span{9, 10}, ""}}, "> 012345678"},
		{"all", []Edit{{Span{0, 10}, "x"}}, "> x"},
	} {
		body := []byte("0123456789")
		if got := Splice([]byte("> "), body, tt.edits); string(got) != tt.want || string(body) != "0123456789" {
			t.Errorf("%s: Splice = %q, and the body is %q, want %q, and the body as it was", tt.name, got, body, tt.want)
		}
	}
}

// Whatever a caller asks for, a request uses no less of a limit than a large one
// does.
func TestTokens_Saturate(t *testing.T) {
	for _, field := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens"} {
		for _, n := range []string{"2147483647", "2147483648", "4294967295", "9223372036854775807", "18446744073709551616", "1e300", "1e999"} {
			body := []byte(`{"model":"m","` + field + `":` + n + `}`)
			if p := Parse(body); p.MaxTokens != wire.MaxTokens {
				t.Errorf("tokens of %s = %d, want %d", body, p.MaxTokens, wire.MaxTokens)
			}
		}
		for _, n := range []string{"-1", "-1e300", `"9"`, "null"} {
			body := []byte(`{"model":"m","` + field + `":` + n + `}`)
			if p := Parse(body); p.MaxTokens != 0 {
				t.Errorf("tokens of %s = %d, want none", body, p.MaxTokens)
			}
		}
	}
}

// What is added to a conversation does not change its key. What makes it
// another one does.
func TestConversationKey(t *testing.T) {
	const system, user = `{"role":"system","content":"s"}`, `{"role":"user","content":"q"}`
	chat := func(messages ...string) string {
		return `{"model":"m","messages":[` + strings.Join(messages, ",") + `]}`
	}
	key := func(body string) uint64 { return ConversationKey([]byte(body)) }
	begun := key(chat(system, user))
	for _, same := range []string{
		chat(system, user),
		chat(system, user, `{"role":"assistant","content":"a"}`, `{"role":"user","content":"more"}`),
		`{"temperature":1,"model":"m","stream":true,"messages":[` + system + `,` + user + `]}`,
	} {
		if key(same) != begun {
			t.Errorf("%s is of another conversation than %s", same, chat(system, user))
		}
	}
	keys := map[uint64]string{begun: chat(system, user)}
	for _, other := range []string{
		chat(user), chat(system, `{"role":"user","content":"other"}`), `{"model":"n","messages":[` + system + `,` + user + `]}`,
		`{"model":"m","user":"u","messages":[` + system + `,` + user + `]}`, `{"model":"m","prompt":"p"}`, `{"model":"m","input":"p","tools":[]}`, `{}`,
	} {
		if known, ok := keys[key(other)]; ok {
			t.Errorf("%s is of the same conversation as %s", other, known)
		}
		keys[key(other)] = other
	}
	if key(chat(user)) != key(chat(user, system)) {
		t.Error("what follows the first message of the user is a part of the conversation's key")
	}
	// Processes of one fleet, of whatever version, agree on it.
	if got := key(`{"model":"m","messages":[{"role":"user","content":"q"}]}`); got != 17286836566208215185 {
		t.Errorf("the key of a chat is %d, want that of other versions", got)
	}
}

// Names are kept for calls to come: those made up do not keep others out.
func TestNames_AreBounded(t *testing.T) {
	n := NewNames()
	for i := range 3 * maxNames {
		n.Intern(fmt.Sprint(i))
		if all := len(n.all.All()); all > maxNames {
			t.Fatalf("%d names, want at most %d", all, maxNames)
		}
	}
	name := n.Intern("m")
	if again := n.Intern("m"); unsafe.StringData(name) != unsafe.StringData(again) {
		t.Error("a name that came late is copied for each call")
	}
}

// A name that is kept shares no memory with the body that it came in.
func TestNames_AreCopies(t *testing.T) {
	n := NewNames()
	body := []byte(`{"model":"m"}`)
	name := n.Intern(Parse(body).Model)
	clear(body)
	if name != "m" || n.Intern("m") != "m" {
		t.Errorf("the name is %q once its body is used for something else, want %q", name, "m")
	}
}

// BenchmarkParse looks into bodies of three sizes: of prose, of code and of JSON, which
// have many escapes, of a conversation of short messages, and of tools. What it reads is
// random, because a processor soon knows what repeats. The copy of the body is the floor.
func BenchmarkParse(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	words := func(most int) string {
		var text []byte
		for range 1 + random.IntN(most) {
			for range 1 + random.IntN(10) {
				text = append(text, "etaoinshrdlu"[random.IntN(12)])
			}
			text = append(text, ' ')
		}
		return string(text)
	}
	several := func(most int, text func() string) string {
		var all strings.Builder
		for range 1 + random.IntN(most) {
			all.WriteString(text())
		}
		return all.String()
	}
	message := func(text string) string { return `{"role":"user","content":"` + text + `"},` }
	for _, kind := range []struct {
		name string
		text func() string
	}{
		{"prose", func() string { return message(words(500)) }},
		{"code", func() string {
			return message(several(100, func() string { return `\n\t` + words(3) + `:= ` + words(1) + `(\"` + words(3) + `\")` }))
		}},
		{"json", func() string {
			return message(several(50, func() string { return `{\"` + words(1) + `\":\"` + words(3) + `\",\"id\":1},` }))
		}},
		{"short", func() string { return message(words(12)) }},
		{"tools", func() string {
			return `{"name":"` + words(1) + `","properties":{` + several(4, func() string { return `"` + words(1) + `":{"type":"string","description":"` + words(12) + `"},` }) + `"":{}}},`
		}},
	} {
		for _, size := range []int{2 << 10, 32 << 10, 200 << 10} {
			body := []byte(`{"model":"deepseek-flash","messages":[`)
			for len(body) < size {
				body = append(body, kind.text()...)
			}
			body = append(body, `{}],"stream":true}`...)
			b.Run(fmt.Sprintf("%s/%d", kind.name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if p := Parse(body); !p.Stream {
						b.Fatal("the last member was missed")
					}
				}
			})
		}
	}
	from, to := make([]byte, 200<<10), make([]byte, 200<<10)
	b.Run("copy/200", func(b *testing.B) {
		b.SetBytes(int64(len(from)))
		for b.Loop() {
			copy(to, from)
		}
	})
}

// Only what has no effect, no body and no other protocol is sent again.
func TestIsSafe(t *testing.T) {
	for _, tt := range []struct {
		method, body, upgrade string
		want                  bool
	}{
		{"GET", "", "", true}, {"HEAD", "", "", true}, {"", "", "", true},
		{"GET", "{}", "", false}, {"GET", "", "websocket", false},
		{"get", "", "", false}, {"POST", "", "", false}, {"PUT", "", "", false}, {"DELETE", "", "", false}, {"OPTIONS", "", "", false}, {"TRACE", "", "", false},
	} {
		req, err := http.NewRequest(tt.method, "https://a/models", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Method = tt.method
		if tt.upgrade != "" {
			req.Header.Set("Upgrade", tt.upgrade)
		}
		if got := IsSafe(req); got != tt.want {
			t.Errorf("IsSafe(%q with body %q, upgrade %q) = %v", tt.method, tt.body, tt.upgrade, got)
		}
	}
}
