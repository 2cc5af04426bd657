package wire

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func canonical(text string) (string, bool) {
	out, ok := Canonical(nil, []byte(text), "stream", "stream_options")
	return string(out), ok
}

func TestCanonicalIsOne(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":[2,{"c":3,"d":4}]}`, `{"b":[2,{"d":4,"c":3}],"a":1}`, " {\n\"b\" : [ 2 ,\t{\"d\":4,\"c\":3} ] , \"a\" : 1\r\n} "},
		{`{}`, `{"stream":true}`, `{"stream_options":{"include_usage":true},"stream":false}`, ` { "stream" : null } `},
		{`{"a":{"stream":true}}`, `{"a":{"stream":true},"stream":true}`},
		{`{"a":1,"b":2,"c":3}`, `{"c":3,"b":2,"a":1}`, `{"b":2,"stream":true,"c":3,"a":1}`},
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

// What has one canonical form says one thing, whatever order is made of it.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"\u00e9","d":1.50}],"stream":true}`), uint64(1))
	f.Add([]byte(`{"a":1,"A":2,"\u0061":3}`), uint64(2))
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
