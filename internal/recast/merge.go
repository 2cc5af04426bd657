package recast

import (
	"strings"

	"github.com/tidwall/gjson"
)

// Bounds of what is looked through one by one: no answer comes near, and one
// that is hostile must not make it slow.
const (
	maxMembers = 128 // of an object that comes in pieces
	maxIndex   = 128 // of choices, as the API has it, and of tool calls
)

// A part of a document is put together from what several events say of it.
type part interface {
	// add takes in what an event says. It returns false if that does not go
	// with what came before.
	add(said gjson.Result) bool
	appendTo(text []byte) []byte
}

// A rule says what becomes of a value that comes more than once. Null and ""
// never take the place of another.
type rule int

const (
	lastCounts rule = iota
	alwaysSame      // as ids and names: if another comes, something is mixed up
	listsGrow       // of anything but lists the last counts
	textsGrow       // lists do, too; an object comes once
)

// A value has no parts of its own.
type value struct {
	rule  rule
	raw   string // of what does not grow: the value; "" if nothing came
	grows byte   // '"' or '[' once it has begun to grow
	inner []byte // what it has grown to, without quotes or brackets
}

func (v *value) add(said gjson.Result) bool {
	raw := said.Raw
	kind := raw[0]
	switch {
	case kind == '"' && v.rule == textsGrow, kind == '[' && v.rule >= listsGrow:
		if v.grows != kind && !v.isUnsaid() {
			return false
		}
		v.grows = kind
		v.grow(raw[1 : len(raw)-1])
		return true
	case kind == 'n', raw == `""`:
		if v.isUnsaid() && v.raw != `""` {
			v.raw = raw
		}
		return true
	case v.grows != 0:
		return false
	case v.rule == alwaysSame, kind == '{' && v.rule == textsGrow:
		if !v.isUnsaid() && v.raw != raw {
			return false
		}
	}
	v.raw = raw
	return true
}

func (v *value) isUnsaid() bool {
	return v.grows == 0 && (v.raw == "" || v.raw == "null" || v.raw == `""`)
}

func (v *value) grow(inner string) {
	if v.grows == '[' {
		if inner = strings.Trim(inner, " \t\r\n"); inner == "" {
			return
		}
		if len(v.inner) > 0 {
			v.inner = append(v.inner, ',')
		}
	}
	v.inner = append(v.inner, inner...)
}

func (v *value) appendTo(text []byte) []byte {
	switch v.grows {
	case '"':
		return append(append(append(text, '"'), v.inner...), '"')
	case '[':
		return append(append(append(text, '['), v.inner...), ']')
	}
	return append(text, v.raw...)
}

// An absent part is of the stream alone.
type absent struct{}

func (absent) add(gjson.Result) bool       { return true }
func (absent) appendTo(text []byte) []byte { return text }

// An object is put together member by member.
type object struct {
	// of returns a part for the member of a name that comes for the first time,
	// nil if it is not understood.
	of      func(name string) part
	members []member // in the order in which they came
	pieces  int      // how many have come
}

type member struct {
	name  string
	key   string // the name as JSON, to be written
	piece int    // the last it was in
	part  part
}

// add takes in a piece of the object.
func (o *object) add(said gjson.Result) bool {
	if said.Type == gjson.Null {
		return true
	}
	if !said.IsObject() {
		return false
	}
	o.pieces++
	ok := true
	said.ForEach(func(key, v gjson.Result) bool {
		m := o.member(key.Str, key.Raw)
		ok = m != nil && m.piece != o.pieces && m.part.add(v)
		if ok {
			m.piece = o.pieces
		}
		return ok
	})
	return ok
}

// member returns the member of a name, a new one if there is none yet, nil if
// there can be none. It holds until the next call.
func (o *object) member(name, key string) *member {
	for i := range o.members {
		if o.members[i].name == name {
			return &o.members[i]
		}
	}
	if len(o.members) == maxMembers {
		return nil
	}
	p := o.of(name)
	if p == nil {
		return nil
	}
	o.members = append(o.members, member{name: name, key: key, part: p})
	return &o.members[len(o.members)-1]
}

func (o *object) appendTo(text []byte) []byte {
	if o.pieces == 0 && len(o.members) == 0 {
		return append(text, "null"...)
	}
	text = append(text, '{')
	first := true
	for _, m := range o.members {
		if m.part == (absent{}) {
			continue
		}
		if !first {
			text = append(text, ',')
		}
		first = false
		text = append(append(text, m.key...), ':')
		text = m.part.appendTo(text)
	}
	return append(text, '}')
}

// A list holds objects, each of which says by its index which one it is.
type list struct {
	newObject func() *object
	objects   []*object // by index; nil where none came
	came      bool
}

func (l *list) add(said gjson.Result) bool {
	if said.Type == gjson.Null {
		return true
	}
	if !said.IsArray() {
		return false
	}
	l.came = true
	ok := true
	said.ForEach(func(_, piece gjson.Result) bool {
		i, known := index(piece.Get("index"), maxIndex)
		ok = known && piece.IsObject() && l.at(i).add(piece)
		return ok
	})
	return ok
}

func (l *list) at(i int) *object {
	for len(l.objects) <= i {
		l.objects = append(l.objects, nil)
	}
	if l.objects[i] == nil {
		l.objects[i] = l.newObject()
	}
	return l.objects[i]
}

func (l *list) appendTo(text []byte) []byte {
	if !l.came {
		return append(text, "null"...)
	}
	text = append(text, '[')
	first := true
	for _, o := range l.objects {
		if o == nil {
			continue
		}
		if !first {
			text = append(text, ',')
		}
		first = false
		text = o.appendTo(text)
	}
	return append(text, ']')
}

// index reads an index below limit. Where there is none it is 0.
func index(v gjson.Result, limit int) (i int, ok bool) {
	for _, digit := range []byte(v.Raw) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		if i = 10*i + int(digit-'0'); i >= limit {
			return 0, false
		}
	}
	return i, i < limit
}

// isEmpty reports whether there is nothing in a list, or null in its place.
func isEmpty(list string) bool {
	return list == "null" || strings.Trim(list[1:len(list)-1], " \t\r\n") == ""
}
