package wire

import "bytes"

// A Walker goes through a JSON text once, from front to end. Its user enters the
// objects and lists that it wants to see into, and the Walker skims all others. So
// nothing is read twice. As with [Members], what it finds in a text that is not JSON
// means nothing.
//
//	for l := w.Enter('{'); w.Next(&l); {
//		switch string(l.Name) { … } // each case enters the value or reads it, or leaves it
//	}
//
// Such a loop must go on to its end, because the Walker is behind the closing bracket
// only then.
type Walker struct {
	text []byte
	at   int // the next byte to read
}

// A Level is an object or a list that a Walker is in.
type Level struct {
	Name     []byte // of the member, without quotes and escapes; in a list it is empty
	NameAt   int    // where its opening quote is
	NameEnds int    // after its closing quote
	ValueAt  int    // where the value begins; 0: before the first one

	start  int  // of the opening bracket
	opened byte // this bracket; 0: there is none
}

// NewWalker returns a Walker that is before the value of a text.
func NewWalker(text []byte) Walker { return Walker{text: text, at: pastBlanks(text, 0)} }

// Enter enters the value if it begins with the bracket. If not, the Level has no
// members.
func (w *Walker) Enter(bracket byte) Level {
	if !w.Begins(bracket) {
		return Level{}
	}
	l := Level{start: w.at, opened: bracket}
	w.at++
	return l
}

// Begins reports whether the value begins with b.
func (w *Walker) Begins(b byte) bool { return w.at < len(w.text) && w.text[w.at] == b }

// Next goes to the next member or value of the level. It reports false behind the last
// one.
func (w *Walker) Next(l *Level) bool {
	first := l.ValueAt == 0
	switch {
	case l.opened == 0:
		return false
	case !first && w.at == l.ValueAt: // the user has not read it
		w.at = pastValue(w.text, w.at)
	}
	text, at := w.text, w.at
	if at < len(text) && marks[text[at]] == markBlank {
		at = pastBlanks(text, at)
	}
	switch {
	case at == len(text):
		return w.leave(l, at)
	case text[at] == l.opened+2: // the closing bracket, in ASCII
		return w.leave(l, at+1)
	case first:
	case text[at] != ',':
		return w.fail(l)
	default:
		if at++; at < len(text) && marks[text[at]] == markBlank {
			at = pastBlanks(text, at)
		}
	}
	if l.opened == '{' {
		at = w.name(l, at)
	}
	if at == len(text) {
		return w.fail(l)
	}
	l.ValueAt, w.at = at, at
	return true
}

// name reads the name of a member and the colon after it. It returns where the value
// begins, or the end of the text if there is none.
func (w *Walker) name(l *Level, at int) int {
	text := w.text
	if at == len(text) || text[at] != '"' {
		return len(text)
	}
	end := at + 1
	for end < len(text) && text[end] != '"' && text[end] != '\\' { // names are short
		end++
	}
	if end == len(text) {
		return end
	}
	plain := text[end] == '"'
	if end++; !plain {
		end = pastString(text, at)
	}
	colon := end
	if colon < len(text) && marks[text[colon]] == markBlank {
		colon = pastBlanks(text, colon)
	}
	if colon == len(text) || text[colon] != ':' {
		return len(text)
	}
	l.NameAt, l.NameEnds, l.Name = at, end, text[at+1:end-1]
	if !plain {
		l.Name = unescape(l.Name)
	}
	if at = colon + 1; at < len(text) && marks[text[at]] == markBlank {
		at = pastBlanks(text, at)
	}
	return at
}

func (w *Walker) leave(l *Level, at int) bool {
	w.at, l.opened = at, 0
	return false
}

// fail leaves a level that is not JSON, and goes to where its brackets end.
func (w *Walker) fail(l *Level) bool { return w.leave(l, pastNested(w.text, l.start)) }

// Value reads the value, whatever it is. It is a part of the text.
func (w *Walker) Value() []byte {
	start := w.at
	w.at = pastValue(w.text, start)
	return w.text[start:w.at:w.at]
}

// Text reads the value, and returns the text that it stands for if it is a string, or
// nil. Without escapes, that is a part of the walker's text.
func (w *Walker) Text() []byte {
	v := w.Value()
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return nil
	}
	if v = v[1 : len(v)-1]; bytes.IndexByte(v, '\\') >= 0 {
		return unescape(v)
	}
	return v
}

// IsSet reads the value, and reports whether it says anything: whether it is not null,
// false, an empty text, or an empty list or object.
func (w *Walker) IsSet() bool {
	v := value(w.Value())
	switch {
	case v.is('"'):
		return v.isText()
	case v.is('['), v.is('{'):
		return v.isFilled()
	}
	return v.isError()
}

// Member reads what is left of the member that the level is at, and returns it. ok is
// false if the text is cut behind it, or goes on with what is not JSON.
func (w *Walker) Member(l *Level) (m Member, ok bool) {
	if w.at == l.ValueAt {
		w.at = pastValue(w.text, w.at)
	}
	m = Member{
		Name: l.Name, NameAt: l.NameAt, NameEnds: l.NameEnds,
		Value: w.text[l.ValueAt:w.at:w.at], ValueAt: l.ValueAt, ValueEnds: w.at,
	}
	next := pastBlanks(w.text, w.at)
	return m, next < len(w.text) && (w.text[next] == ',' || w.text[next] == '}')
}
