package diagnose

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
)

// Whatever a nameserver sends, reading it ends, with a bounded number of addresses or a reason.
func FuzzReadReply(f *testing.F) {
	question, id, err := questionFor("api.deepseek.com", dnsmessage.TypeA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question[tcpLength:], false)
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: id, Response: true}}
	name := dnsmessage.MustNewName("api.deepseek.com.")
	reply.Answers = []dnsmessage.Resource{
		{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: name}},
		{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{1, 2, 3, 4}}},
		{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AAAAResource{}},
	}
	packed, err := reply.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed, false)
	f.Add(packed, true)
	f.Fuzz(func(t *testing.T, answer []byte, v6 bool) {
		kind := dnsmessage.TypeA
		if v6 {
			kind = dnsmessage.TypeAAAA
		}
		r := readReply(answer, id, kind)
		if len(r.addresses) > maxFound || r.problem != "" && len(r.addresses) > 0 {
			t.Errorf("%+v", r)
		}
		for _, a := range r.addresses {
			if a.Is4() == v6 && !a.Is4In6() {
				t.Errorf("%v in an answer for %v", a, kind)
			}
		}
	})
}

// However a body is cut into parts, its keep-alives are none of its payload.
func FuzzObservation(f *testing.F) {
	f.Add(": keep-alive\n\n: keep-alive\n\n", "data: {}\n\n", 3)
	f.Add("\n\n\n", `{"id":1}`, 1)
	f.Fuzz(func(t *testing.T, before, answer string, size int) {
		for line := range strings.Lines(before) {
			if trimmed := strings.TrimLeft(line, " \t\r\n"); trimmed != "" && !strings.HasPrefix(trimmed, ":") {
				return
			}
		}
		if before != "" && !strings.HasSuffix(before, "\n") || answer == "" || strings.ContainsAny(answer[:1], " \t\r\n:") || strings.HasPrefix(answer, "event: ping") {
			return
		}
		size = max(1, size%7)
		var whole, parts observer
		whole.take([]byte(before + answer))
		for all := before + answer; all != ""; {
			n := min(size, len(all))
			parts.take([]byte(all[:n]))
			all = all[n:]
		}
		if whole.payload != int64(len(answer)) || parts.payload != whole.payload || string(parts.text) != string(whole.text) {
			t.Errorf("%q and %q: %d bytes of payload in whole, %d in parts, want %d", before, answer, whole.payload, parts.payload, len(answer))
		}
	})
}

// What hosts say of themselves is short and can be printed.
func FuzzClean(f *testing.F) {
	f.Add("nginx/1.2\x1b[31m", "cloudflare")
	f.Add(strings.Repeat("\u202e\u6df1", 100), "")
	f.Fuzz(func(t *testing.T, s, server string) {
		if out := clean(s); len(out) > maxShown || !utf8.ValidString(out) || strings.ContainsAny(out, "\x1b\r\n\x00\u202e") {
			t.Errorf("%q became %q", s, out)
		}
		_ = edgeOf(http.Header{"Server": {server}, "Via": {s}})
	})
}
