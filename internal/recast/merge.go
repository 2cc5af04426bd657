package recast

import (
	"strings"

	"github.com/tidwall/gjson"
)

// Bounds of what is searched linearly. No real answer comes near, and a hostile one must
// not be slow.
const (
	maxMembers = 128 // of an object that comes in pieces
	maxIndex   = 128 // of choices, as in the API, and of tool calls
)

// A part of a document is built from several events.
type part interface {
	// add adds what an event says. It returns false if that contradicts what came before.
	add(said gjson.Result) bool
	appendTo(text []byte) []byte
}

// A rule says what happens to a value that comes more than once. Null and "" never replace
// another value.
type rule int

const (
	lastCounts rule = iota
	alwaysSame      // ids and names: another value means that things are mixed up
	listsGrow       // lists are joined; of other values the last counts
	textsGrow       // texts and lists are joined; an object comes once
)

// A value is a part without parts of its own.
type value struct {
	rule  rule
	raw   string // the value, if it is not joined; "" if none came
	grows byte   // '"' or '[' once it has begun to be joined
	inner []byte // what was joined, without quotes or brackets
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

// An absent part is dropped, because it belongs to the stream alone.
type absent struct{}

func (absent) add(gjson.Result) bool       { return true }
func (absent) appendTo(text []byte) []byte { return text }

// An object is built member by member.
type object struct {
	// of returns a part for a member that comes for the first time, or nil if the member
	// is not understood.
	of      func(name string) part
	members []member // in order of arrival
	pieces  int      // number of pieces so far
}

type member struct {
	name  string
	key   string // the name as JSON
	piece int    // the last piece that had it
	part  part
}

// add adds a piece of the object.
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

// member returns the member with a name, or adds one if there is none; nil: it cannot be
// added. The pointer is valid until the next call.
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

// A list has objects that say by their index which one they are.
type list struct {
	newObject func() *object
	objects   []*object // by index; nil: none came
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

// index reads an index below limit; a missing one is 0.
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

// isEmpty reports whether a list is empty or null.
func isEmpty(list string) bool {
	return list == "null" || strings.Trim(list[1:len(list)-1], " \t\r\n") == ""
}
