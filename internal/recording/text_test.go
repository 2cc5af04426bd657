package recording

import (
	"bytes"
	"testing"
)

// What is read is written as the same text again, and what is written is read as it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte("breakwater-record 1\nat 2026-11-28T13:00:00Z\nPOST http://h/v1/chat/completions\n  A: \"b\\x00\"\nbody whole\n:{}\n+1.2s HTTP/1.1 200 OK\n  C: d\nlength -1\nuncompressed\n+1.25s\n|data: {}\n\"\\xff\\r\\n\"\n=AAEC\n+31s error\n  {\"type\":\"net.OpError\",\"op\":\"read\",\"net\":\"tcp\",\"wraps\":[{\"type\":\"ECONNRESET\"}]}\n  T: u\n"), []byte("x\r\n\x00y"))
	f.Add([]byte("breakwater-record 1\nat 2026-11-28T13:00:00Z\nGET http://h/\nbody unread\n+1s canceled\n"), []byte{0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, text, data []byte) {
		all, err := Parse(text)
		if err != nil {
			return
		}
		var once, again []byte
		for _, x := range all {
			if x.Response != nil && len(data) > 0 {
				x.Response.Reads = append(x.Response.Reads, Read{x.Response.After, data})
			}
			once = x.Append(once)
		}
		same, err := Parse(once)
		if err != nil {
			t.Fatalf("%v in\n%s", err, once)
		}
		for i, x := range same {
			again = x.Append(again)
			if x.Response != nil && !bytes.Equal(x.Response.Body(), all[i].Response.Body()) {
				t.Fatalf("%q, want %q", x.Response.Body(), all[i].Response.Body())
			}
		}
		if !bytes.Equal(once, again) {
			t.Fatalf("%s\nwas\n%s", again, once)
		}
	})
}
