package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func canonical(text string) (string, bool) {
	out, ok := Canonical(nil, []byte(text), "stream", "stream_options")
	return string(out), ok
}

// long is a value that makes the object around it one of which the digest stands.
var long = `"` + strings.Repeat("x", maxMoved) + `"`

func TestCanonicalIsOne(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":[2,{"c":3,"d":4}]}`, `{"b":[2,{"d":4,"c":3}],"a":1}`, " {\n\"b\" : [ 2 ,\t{\"d\":4,\"c\":3} ] , \"a\" : 1\r\n} "},
		{`{}`, `{"stream":true}`, `{"stream_options":{"include_usage":true},"stream":false}`, ` { "stream" : null } `},
		{`{"a":{"stream":true}}`, `{"a":{"stream":true},"stream":true}`},
		{`{"a":1,"b":2,"c":3}`, `{"c":3,"b":2,"a":1}`, `{"b":2,"stream":true,"c":3,"a":1}`},
		{`{"a":{"b":[{"c":` + long + `,"d":1}],"e":2}}`, `{"a":{"e":2,"b":[{"d":1,"c":` + long + `}]}}`},
	} {
		want, ok := canonical(same[0])
		if !ok {
			t.Errorf("Canonical(%s) is none", same[0])
		}
		for _, text := range same[1:] {
			if got, ok := canonical(text); got != want || !ok {
				t.Errorf("Canonical(%s) = %s, %v, want that of %s, %s", text, got, ok, same[0], want)
			}
		}
	}
}

func TestCanonicalKeepsApart(t *testing.T) {
	for _, apart := range [][]string{
		{`{"a":1}`, `{"a":1.0}`, `{"a":1e0}`, `{"a":10e-1}`, `{"a":"1"}`, `{"a":true}`, `{"a":null}`, `{"a":[1]}`, `{"A":1}`, `{}`},
		{`{"a":12345678901234567890}`, `{"a":12345678901234567891}`},
		{`{"a":"é"}`, `{"a":"e\u0301"}`, `{"a":"e"}`},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, `{"a":[12]}`, `{"a":[[1],2]}`, `{"a":["1,2"]}`},
		{`{"a":1,"a":2}`, `{"a":2,"a":1}`, `{"a":1}`, `{"a":2}`},
		{`{"a":1,"A":2}`, `{"A":2,"a":1}`},
		{`{"a":1,"\u0061":2}`, `{"\u0061":2,"a":1}`},
		{`{"k":1,"K":2}`, `{"K":2,"k":1}`}, // the sign for kelvin is a k in another case
		{`{"a":{"stream":true}}`, `{"a":{"stream":false}}`, `{"a":{}}`},
		{`{"schema":{"properties":{"a":{},"b":{}}}}`, `{"schema":{"properties":{"b":{},"a":{}}}}`},
		{`{"a":"b\",\"c\":\"d"}`, `{"a":"b","c":"d"}`},
		{`{"a":" b"}`, `{"a":"b"}`, `{"a":"b "}`},
		{`{"a":{"b":[{"c":` + long + `,"d":1}]}}`, `{"a":{"b":[{"c":` + long + `,"d":2}]}}`, `{"a":{"b":[{"C":` + long + `,"d":1}]}}`, `{"a":{"b":[{"c":` + long + `}]}}`},
		{`{"a":{"b":` + long + `,"B":1}}`, `{"a":{"B":1,"b":` + long + `}}`},
	} {
		for i, text := range apart {
			for _, other := range apart[:i] {
				a, ok1 := canonical(text)
				b, ok2 := canonical(other)
				if a == b || !ok1 || !ok2 {
					t.Errorf("Canonical(%s) = %s, %v; of %s it is %s, %v", text, a, ok1, other, b, ok2)
				}
			}
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, text := range []string{"", "null", "[]", `"a"`, "1", "{", `{"a":1`, `{"a":1}}`, `{"a":01}`, `{"a":1,}`, `{a:1}`, "{\"a\":\"\n\"}",
		`{"a":` + strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<20)} {
		if got, ok := canonical(text); ok {
			t.Errorf("Canonical(%.40s) = %s, want none", text, got)
		}
	}
}

// A body is read, and what it says is moved about, a bounded number of times
// for each of its bytes, however deep objects stand within objects and whatever
// order their members have.
func TestCanonicalIsLinear(t *testing.T) {
	const size = 1 << 20
	text := `"` + strings.Repeat("x", size) + `"`
	for name, body := range map[string]func(depth int) string{
		"objects in the wrong order": func(n int) string { return strings.Repeat(`{"b":`, n) + text + strings.Repeat(`,"a":1}`, n) },
		"objects in the right order": func(n int) string { return strings.Repeat(`{"a":1,"b":`, n) + text + strings.Repeat(`}`, n) },
		"objects in lists":           func(n int) string { return strings.Repeat(`{"b":[`, n/2) + text + strings.Repeat(`],"a":1}`, n/2) },
		"lists of objects within objects": func(n int) string {
			return strings.Repeat(`{"b":[{},`, n/2) + text + strings.Repeat(`,{"d":1,"c":2}],"a":1}`, n/2)
		},
		"schemas": func(n int) string { return strings.Repeat(`{"properties":`, n) + text + strings.Repeat(`,"a":1}`, n) },
		"doubles": func(n int) string { return strings.Repeat(`{"b":`, n) + text + strings.Repeat(`,"B":1}`, n) },
		"small objects": func(n int) string {
			one := strings.Repeat(`{"b":`, n) + "1" + strings.Repeat(`,"a":1}`, n)
			return `{"b":[` + one + strings.Repeat(","+one, size/len(one)) + `],"a":1}`
		},
		"many members": func(int) string {
			var b strings.Builder
			for i := range size / 16 {
				fmt.Fprintf(&b, `,"%08x":1`, (i*40503)%(size/16))
			}
			return "{" + b.String()[1:] + "}"
		},
	} {
		for _, depth := range []int{2, 990} {
			in := []byte(body(depth))
			k := canon{cursor: cursor{text: in}}
			if ok := k.whole(); !ok {
				t.Fatalf("%s, %d deep: is no canonical text", name, depth)
			}
			if limit := 40 * len(in); k.moved > limit {
				t.Errorf("%s, %d deep: %d bytes are moved for %d, want at most %d", name, depth, k.moved, len(in), limit)
			}
		}
	}
}

// What has one canonical form says one thing, whatever order is made of it.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"\u00e9","d":1.50}],"stream":true}`), uint64(1))
	f.Add([]byte(`{"a":1,"A":2,"\u0061":3}`), uint64(2))
	f.Add([]byte(`{"a":{"c":`+long+`,"b":1},"b":[{"c":[{"b":`+long+`,"a":2}]}]}`), uint64(3))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		out, ok := Canonical([]byte("x"), text)
		if ok != (Valid(text) && bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))) || out[0] != 'x' {
			t.Fatalf("Canonical(%q) = %q, %v", text, out, ok)
		}
		if !ok {
			return
		}
		shuffled, plain := shuffle(text, rand.New(rand.NewPCG(seed, 0)))
		other, ok := Canonical([]byte("x"), shuffled)
		if plain && (!ok || !bytes.Equal(out, other)) {
			t.Fatalf("Canonical(%q) = %q, but of %q it is %q", text, out, shuffled, other)
		}
		if !bytes.Equal(out, other) {
			return
		}
		var a, b any
		if json.Unmarshal(text, &a) == nil && json.Unmarshal(shuffled, &b) == nil && !reflect.DeepEqual(a, b) {
			t.Fatalf("%q and %q have one canonical form, %q", text, shuffled, out)
		}
	})
}

// shuffle writes an object's members in another order, at the top alone, and
// reports whether that changes nothing of what it says.
func shuffle(text []byte, random *rand.Rand) (shuffled []byte, plain bool) {
	c := cursor{text: text}
	var members []string
	seen := map[string]bool{}
	plain = true
	if c.enter('{') {
		for c.more('}') {
			name, escaped := c.name()
			folded := strings.ToLower(string(name))
			plain = plain && !escaped && isASCII(name) && !seen[folded]
			seen[folded] = true
			members = append(members, `"`+string(name)+`" : `+string(c.value()))
		}
	}
	random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return []byte("{ " + strings.Join(members, "\n,") + "}"), plain
}

func BenchmarkCanonical(b *testing.B) {
	text := []byte(`{"model":"deepseek-flash","messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("what is a breakwater? ", 90)+`"},`, 15) + `{}],"stream":true}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out, _ = Canonical(out[:0], text, "stream")
	}
}
