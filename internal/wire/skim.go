package wire

import "bytes"

// A Member is a member of a JSON object, with its place in the text.
type Member struct {
	Name      []byte // without quotes and escapes
	NameAt    int    // where its opening quote is
	NameEnds  int    // after its closing quote
	Value     []byte // without blanks around it
	ValueAt   int
	ValueEnds int
}

// Members calls do with each member of the object in text, in order. It only skims from
// one quote to the next, so what it finds in a text that is not JSON means nothing. Of a
// text that is cut or is no object, it finds the members before that point.
func Members(text []byte, do func(Member)) {
	at := pastBlanks(text, 0)
	if at == len(text) || text[at] != '{' {
		return
	}
	for at++; ; at++ {
		at = pastBlanks(text, at)
		if at == len(text) || text[at] != '"' {
			return
		}
		m := Member{NameAt: at, NameEnds: pastString(text, at)}
		if at = pastBlanks(text, m.NameEnds); at == len(text) || text[at] != ':' {
			return
		}
		if m.Name = text[m.NameAt+1 : m.NameEnds-1]; bytes.IndexByte(m.Name, '\\') >= 0 {
			m.Name = unescape(m.Name)
		}
		m.ValueAt = pastBlanks(text, at+1)
		m.ValueEnds = pastValue(text, m.ValueAt)
		m.Value = text[m.ValueAt:m.ValueEnds:m.ValueEnds]
		if at = pastBlanks(text, m.ValueEnds); at == len(text) || text[at] != ',' && text[at] != '}' {
			return
		}
		do(m)
		if text[at] == '}' {
			return
		}
	}
}

func pastBlanks(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// pastString returns the end of the string that begins at at.
func pastString(text []byte, at int) int {
	start := at
	for at++; at < len(text); at++ {
		n := bytes.IndexByte(text[at:], '"')
		if n < 0 {
			break
		}
		at += n
		before := at
		for text[before-1] == '\\' && before-1 > start {
			before--
		}
		if (at-before)%2 == 0 { // else the last backslash escapes the quote
			return at + 1
		}
	}
	return len(text)
}

// pastValue returns the end of the value that begins at at.
func pastValue(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"':
			if at = pastString(text, at); depth == 0 {
				return at
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
			if depth < 0 {
				return at
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
		}
		at++
	}
	return len(text)
}
