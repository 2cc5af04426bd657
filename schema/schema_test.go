package schema

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const person = `{"type":"object","properties":{"name":{"type":"string","minLength":1},"age":{"type":"integer","minimum":0},"tags":{"type":"array","items":{"$ref":"#/$defs/tag"}}},
	"required":["name","age"],"additionalProperties":false,"$defs":{"tag":{"enum":["a","b"]}}}`

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		schema, text string
		want         error
	}{
		{person, `{"name":"x","age":3}`, nil},
		{person, ` {"name":"x","age":3.0,"tags":["a","b"]}`, nil},
		{person, `{"name":"x"}`, ErrMismatch},
		{person, `{"name":"","age":3}`, ErrMismatch},
		{person, `{"name":"x","age":-1}`, ErrMismatch},
		{person, `{"name":"x","age":3,"tags":["c"]}`, ErrMismatch},
		{person, `{"name":"x","age":3,"more":1}`, ErrMismatch},
		{person, `[]`, ErrMismatch},
		{person, `{"name"`, ErrMismatch},
		{person, `{} {}`, ErrMismatch},
		{`true`, `1`, nil},
		{`{}`, `1`, nil},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","type":"array","items":[{"type":"number"}]}`, `[1,"a"]`, nil},
		{`{"type":"string","pattern":"^a+$"}`, `"aaa"`, nil},
		{`{"type":"string","pattern":"^a+$"}`, `"b"`, ErrMismatch},
		{`{"format":"date"}`, `"no date"`, nil},
		{`{"type":"nonsense"}`, `1`, ErrUnusable},
		{`{"type":`, `1`, ErrUnusable},
		{``, `1`, ErrUnusable},
		{`[]`, `1`, ErrUnusable},
		{`{"pattern":"("}`, `1`, ErrUnusable},
		{`{"$ref":"https://schema.example/other.json"}`, `1`, ErrUnusable},
		{`{"$ref":"file:///etc/passwd"}`, `1`, ErrUnusable},
		{`{"$ref":"other.json"}`, `1`, ErrUnusable},
		{`{"$schema":"https://schema.example/meta.json"}`, `1`, ErrUnusable},
		{`{"$ref":"#/$defs/none"}`, `1`, ErrUnusable},
		{`{"multipleOf":0.5}`, `1e999999999`, ErrTooComplex},
		{`{"multipleOf":1e-999999999}`, `1`, ErrTooComplex},
		{`{"type":"integer"}`, strings.Repeat("9", 100), ErrTooComplex},
		{`{}`, strings.Repeat("[", 200) + strings.Repeat("]", 200), ErrTooComplex},
		{strings.Repeat(`{"not":`, 200) + "{}" + strings.Repeat("}", 200), `1`, ErrTooComplex},
		{`{"description":"` + strings.Repeat("a", MaxSchema) + `"}`, `1`, ErrTooComplex},
		{`{"allOf":[` + strings.Repeat(`{},`, MaxParts) + `{}]}`, `1`, ErrTooComplex},
		{`{}`, `"` + strings.Repeat("a", MaxText) + `"`, ErrTooComplex},
	} {
		for range 2 { // the second time from the cache
			err := Validate([]byte(tt.schema), []byte(tt.text))
			if !errors.Is(err, tt.want) || err != nil && tt.want == nil {
				t.Errorf("%.80s of %.80s: got %.200v, want %v", tt.text, tt.schema, err, tt.want)
			}
			if got := Check([]byte(tt.schema), []byte(tt.text)); (got != nil) != (tt.want == ErrMismatch) {
				t.Errorf("%.80s of %.80s: Check returns %.200v", tt.text, tt.schema, got)
			}
		}
	}
}

// bombs are schemas that take for ever, with a text that sets each of them off.
func bombs() map[string][2]string {
	var doubling, failing, deep strings.Builder
	for i := range 40 {
		fmt.Fprintf(&doubling, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
		fmt.Fprintf(&failing, `"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	for range 60 {
		deep.WriteString(`{"c":`)
	}
	enum := `"a"` + strings.Repeat(`,"b"`, 50_000)
	return map[string][2]string{
		"doubling":          {`{"$ref":"#/$defs/d0","$defs":{` + doubling.String() + `"d40":{}}}`, `1`},
		"doubling in vain":  {`{"$ref":"#/$defs/d0","$defs":{` + failing.String() + `"d40":{"type":"string"}}}`, `1`},
		"doubling, not":     {`{"not":{"$ref":"#/$defs/d0"},"$defs":{` + failing.String() + `"d40":{"type":"string"}}}`, `1`},
		"doubling by depth": {`{"properties":{"c":{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}},"required":["d"]}`, deep.String() + "1" + strings.Repeat("}", 60)},
		"enum":              {`{"items":{"enum":[` + enum + `]}}`, `["c"` + strings.Repeat(`,"c"`, 1_000_000) + `]`},
		"pattern":           {`{"items":{"pattern":"(a{0,30}){0,30}x"}}`, `["` + strings.Repeat("a", 4<<20) + `","` + strings.Repeat("a", 3<<20) + `"]`},
		"pattern of names":  {`{"patternProperties":{` + names(5000) + `}}`, `{` + members(100_000) + `}`},
		"wide":              {`{"allOf":[` + strings.Repeat(`{},`, 3_900) + `{}]}`, `[` + strings.Repeat(`1,`, 1_000) + `1]`},
		"wide properties":   {`{"properties":{` + strings.ReplaceAll(members(3_900), ":1", ":{}") + `}}`, `{` + members(100_000) + `}`},
		"unique":            {`{"uniqueItems":true}`, `[` + strings.Repeat(`{},`, 1_000_000) + `1]`},
		"nested enums":      {`{"enum":[` + strings.Repeat(`[[[[1]]]],`, 900) + `1]}`, `[[[[2]]]]`},
		"refs in a row":     {`{"$ref":"#/$defs/d0","$defs":{` + row(1900) + `"d1900":{}}}`, `1`},
		"dynamic":           {`{"$dynamicAnchor":"a","properties":{"c":{"anyOf":[{"$dynamicRef":"#a"},{"$dynamicRef":"#a"}]}},"required":["d"]}`, deep.String() + "1" + strings.Repeat("}", 60)},
	}
}

func row(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"d%d":{"$ref":"#/$defs/d%d"},`, i, i+1)
	}
	return b.String()
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"^%d.*x$":{},`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// A bomb ends at a bound. The bound of time would make the test depend on the machine, so it
// only has to end.
func TestValidate_Bombs(t *testing.T) {
	for name, bomb := range bombs() {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			if err := Validate([]byte(bomb[0]), []byte(bomb[1])); err != nil && !errors.Is(err, ErrTooComplex) && !errors.Is(err, ErrMismatch) {
				t.Errorf("got %.200v", err)
			}
			t.Logf("%v", time.Since(begun))
		})
	}
}

// What was used is kept, within bounds.
func TestCache(t *testing.T) {
	for i := range 3 * maxEntries {
		Validate(fmt.Appendf(nil, `{"title":"%d %s"}`, i, strings.Repeat("a", 64<<10)), []byte(`1`))
		Validate(fmt.Appendf(nil, `{"type":"none","title":"%d"}`, i), []byte(`1`))
	}
	if n := len(shared.entries); n > maxEntries || n != len(shared.order) || shared.bytes > maxBytes {
		t.Errorf("%d entries, %d in order, %d bytes", n, len(shared.order), shared.bytes)
	}
	before := numCompiled(t)
	for range 100 {
		Validate([]byte(person), []byte(`{"name":"x","age":3}`))
	}
	if after := numCompiled(t); after > before+1 {
		t.Errorf("the schema was compiled more than once: %d, then %d", before, after)
	}
}

// numCompiled returns how many compiled forms of the schema person wait.
func numCompiled(t *testing.T) (n int) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, e := range shared.entries {
		n += len(e.idle)
	}
	return n
}

func TestValidate_Concurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 * runtime.NumCPU() {
		wg.Go(func() {
			for i := range 200 {
				want := error(nil)
				text := fmt.Sprintf(`{"name":"x","age":%d}`, i)
				if i%3 == 0 {
					text, want = `{"age":1}`, ErrMismatch
				}
				if err := Validate([]byte(person), []byte(text)); !errors.Is(err, want) || err != nil && want == nil {
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzValidate(f *testing.F) {
	for _, bomb := range bombs() {
		if len(bomb[0])+len(bomb[1]) < 10_000 {
			f.Add([]byte(bomb[0]), []byte(bomb[1]))
		}
	}
	f.Add([]byte(person), []byte(`{"name":"x","age":3}`))
	f.Fuzz(func(t *testing.T, schema, text []byte) {
		err := Validate(schema, text)
		if err != nil && !errors.Is(err, ErrMismatch) && !errors.Is(err, ErrUnusable) && !errors.Is(err, ErrTooComplex) {
			t.Errorf("%v", err)
		}
	})
}

// Check is what StreamPolicy.Schema takes.
var _ func(schema, text []byte) error = Check
