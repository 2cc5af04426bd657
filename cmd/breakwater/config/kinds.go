package config

import (
	"fmt"
	"math"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/schema"
	yaml "go.yaml.in/yaml/v4"
)

type nodeRef = *yaml.Node

// text is any text. A secret may be read from a file, and is never quoted.
type text struct{ secret bool }

func (k text) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	if s, ok := d.text(n, path, k.secret); ok {
		v.SetString(s)
	}
}

// filePath is the path of a file, relative to the folder of the configuration file.
type filePath struct{}

func (filePath) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	s, ok := d.text(n, path, false)
	switch {
	case !ok:
	case s == "" || s == redacted:
		d.wrong(n, path, "names no file", "want the path of one")
	default:
		v.SetString(below(d.file, s))
	}
}

// boolean is true or false.
type boolean struct{}

func (boolean) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	s, from, ok := d.scalar(n, path)
	switch {
	case !ok:
	case (s == "true" || s == "false") && from.plain():
		v.SetBool(s == "true")
	case s == "true" || s == "false":
		d.wrong(n, path, "is text", "want "+s+" without quotes")
	default:
		d.wrong(n, path, "is "+from.quote(), "want true or false")
	}
}

// number is a positive number. One of a policy may be off.
type number struct{ whole, off bool }

var (
	wholes   = regexp.MustCompile(`^[0-9]+$`)
	decimals = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

func (k number) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	s, from, ok := d.scalar(n, path)
	if !ok {
		return
	}
	want := orOff("want a number", k.off)
	if k.whole {
		want = orOff("want a whole number", k.off)
	}
	bad := func(problem string) { d.wrong(n, path, problem, want) }
	switch {
	case s == "off" && k.off:
		setNumber(v, breakwater.Off)
	case !from.plain() && decimals.MatchString(s):
		d.wrong(n, path, "is text", "want "+s+" without quotes")
	case k.whole && wholes.MatchString(s):
		i, err := strconv.ParseInt(s, 10, strconv.IntSize)
		if err != nil {
			bad("is too large")
			return
		}
		d.positive(n, path, i == 0, k.off, func() { v.SetInt(i) })
	case !k.whole && decimals.MatchString(s):
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(f, 0) {
			bad("is too large")
			return
		}
		d.positive(n, path, f == 0, k.off, func() { v.SetFloat(f) })
	case strings.HasPrefix(s, "-") && decimals.MatchString(s[1:]):
		bad("is negative")
	default:
		if plain := strings.NewReplacer("_", "", ",", "").Replace(s); plain != s && decimals.MatchString(plain) {
			want = "want " + plain
		}
		bad("is " + from.quote())
	}
}

func setNumber(v reflect.Value, n int64) {
	if v.Kind() == reflect.Float64 {
		v.SetFloat(float64(n))
		return
	}
	v.SetInt(n)
}

// positive sets a number unless it is zero. In the library, zero stands for the default, and
// whoever writes it here may mean none.
func (d *decoder) positive(n nodeRef, path string, zero, off bool, set func()) {
	switch {
	case zero && off:
		d.wrong(n, path, "is 0", "want off for none, or leave the key out for the default")
	case zero:
		d.wrong(n, path, "is 0", "want more, or leave the key out for the default")
	default:
		set()
	}
}

// duration is a time such as 1m30s. One of a policy may be off.
type duration struct{ off bool }

const wantDuration = "want a duration such as 30s, 5m or 1h30m"

func (k duration) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	s, from, ok := d.scalar(n, path)
	if !ok {
		return
	}
	if s == "off" && k.off {
		v.SetInt(breakwater.Off)
		return
	}
	t, err := time.ParseDuration(s) // it takes 0 without a unit
	switch {
	case err == nil && t == 0:
		d.positive(n, path, true, k.off, nil)
	case decimals.MatchString(s):
		d.wrong(n, path, "is "+from.quote()+", a number without a unit", fmt.Sprintf("want a duration such as %ss", s))
	case err == nil && t < 0:
		d.wrong(n, path, "is negative", wantDuration)
	case err == nil && unsigned(s):
		v.SetInt(int64(t))
	default:
		if days, found := strings.CutSuffix(s, "d"); found && wholes.MatchString(days) && len(days) < 5 {
			count, _ := strconv.Atoi(days)
			d.wrong(n, path, "is "+from.quote()+", in days", fmt.Sprintf("want hours: %dh", 24*count))
			return
		}
		d.wrong(n, path, "is "+from.quote(), orOff(wantDuration, k.off))
	}
}

func orOff(want string, off bool) string {
	if off {
		return want + ", or off"
	}
	return want
}

func unsigned(s string) bool { return s[0] != '+' }

// size is a number of bytes such as 64MiB. One of a policy may be off.
type size struct{ off bool }

var (
	sizes = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB|kB|KB|MB|GB)$`)
	units = map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}
)

const wantSize = "want a size such as 64KiB or 8MiB"

func (k size) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	s, from, ok := d.scalar(n, path)
	if !ok {
		return
	}
	m := sizes.FindStringSubmatch(s)
	switch {
	case s == "off" && k.off:
		v.SetInt(breakwater.Off)
	case m != nil:
		i, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || i > math.MaxInt64/units[m[2]] || v.OverflowInt(i*units[m[2]]) {
			d.wrong(n, path, "is too large", wantSize)
			return
		}
		d.positive(n, path, i == 0, k.off, func() { v.SetInt(i * units[m[2]]) })
	case wholes.MatchString(s):
		d.wrong(n, path, "is "+from.quote()+", a number without a unit", fmt.Sprintf("want a size such as %sB or 8MiB", s))
	default:
		d.wrong(n, path, "is "+from.quote(), orOff(wantSize, k.off))
	}
}

// A choice is one of several words.
type choice []struct {
	word  string
	value int64
}

func (k choice) words() (words []string) {
	for _, c := range k {
		words = append(words, c.word)
	}
	return words
}

func (k choice) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	if i := d.choose(n, path, k.words()); i >= 0 {
		v.SetInt(k[i].value)
	}
}

// choose returns which of words n is, or -1.
func (d *decoder) choose(n nodeRef, path string, words []string) int {
	s, from, ok := d.scalar(n, path)
	if !ok {
		return -1
	}
	i := slices.Index(words, s)
	if i < 0 {
		want := "want " + strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
		if near := nearest(s, words); near != "" {
			want = fmt.Sprintf("did you mean %s?", near)
		}
		d.wrong(n, path, "is "+from.quote(), want)
	}
	return i
}

// zone is a time zone by its name.
type zone struct{}

func (zone) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	s, ok := d.text(n, path, false)
	if !ok {
		return
	}
	loc, err := time.LoadLocation(s)
	if err != nil || s == "" {
		d.wrong(n, path, "there is no such time zone", "want a name such as Asia/Shanghai, UTC or Local")
		return
	}
	v.Set(reflect.ValueOf(loc))
}

// headers are the fields of a request: each a value, or a list of values.
type headers struct{}

func (headers) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	h := make(http.Header)
	for _, p := range d.pairs(n, path, "want names and values, such as X-Team: search") {
		at := join(path, quoteKey(p.key.Value))
		values := []nodeRef{p.value}
		if p.value.Kind == yaml.SequenceNode {
			values = d.items(p.value, at, "")
		}
		for _, value := range values {
			if s, ok := d.text(value, at, true); ok {
				h[http.CanonicalHeaderKey(p.key.Value)] = append(h[http.CanonicalHeaderKey(p.key.Value)], s)
			}
		}
	}
	v.Set(reflect.ValueOf(h))
}

// A list has elements of one kind.
type list struct{ of kind }

func (k list) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	items := d.items(n, path, "want a list, such as [a, b]")
	all := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		k.of.decode(d, item, fmt.Sprintf("%s[%d]", path, i), all.Index(i))
	}
	v.Set(all)
}

// oneOrMore is a list, or its only element.
type oneOrMore struct{ of kind }

func (k oneOrMore) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	if resolve(n).Kind == yaml.SequenceNode {
		list(k).decode(d, n, path, v)
		return
	}
	all := reflect.MakeSlice(v.Type(), 1, 1)
	k.of.decode(d, n, path, all.Index(0))
	v.Set(all)
}

// A table has values of one kind, by names that are the user's.
type table struct{ of kind }

func (k table) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	all := reflect.MakeMap(v.Type())
	for _, p := range d.pairs(n, path, "want names and values") {
		value := reflect.New(v.Type().Elem()).Elem()
		k.of.decode(d, p.value, join(path, quoteKey(p.key.Value)), value)
		all.SetMapIndex(reflect.ValueOf(p.key.Value).Convert(v.Type().Key()), value)
	}
	v.Set(all)
}

// A mapping is a section. One that is optional is nil if it is not given, or is off.
type mapping struct {
	of            reflect.Type
	optional, off bool
}

func (k mapping) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	if !k.optional {
		d.section(n, path, sections[k.of], v)
		return
	}
	if of := resolve(n); of.Kind == yaml.ScalarNode && of.Value == "off" {
		v.SetZero()
		if !k.off {
			d.wrong(n, path, "cannot be off as a whole", "want keys and values: many of them may be off")
		}
		return
	}
	to := reflect.New(k.of)
	d.section(n, path, sections[k.of], to.Elem())
	v.Set(to)
}

// schemaCheck is whether answers are checked against the schema of their call.
type schemaCheck struct{}

func (schemaCheck) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	var on bool
	boolean{}.decode(d, n, path, reflect.ValueOf(&on).Elem())
	if on {
		v.Set(reflect.ValueOf(schema.Check))
	}
}

// scope says which callers share answers.
type scope struct{}

var scopes = []string{"tenant", "shared", "caller"}

func (scope) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	switch d.choose(n, path, scopes) {
	case 0:
		v.Set(reflect.ValueOf(scopeTenant))
	case 1:
		v.Set(reflect.ValueOf(scopeShared))
	}
}

// The functions of scopes are no literals, because Transport.Update keeps the cache only while
// its Scope is the same function.
func scopeTenant(r *http.Request) string { return breakwater.CallOf(r.Context()).Tenant }
func scopeShared(*http.Request) string   { return "shared" }
