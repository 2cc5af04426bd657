package wire

import "bytes"

// A Repeat reads the events of one stream that repeat the one before but for their text, as
// nearly all chunks of a chat do. The parser reads an event from front to end and does not
// look into a text, so such an event means the same and only its text is new. A text has no
// line ends either, so its lines mean the same. The same is true of a few members that the
// parser skips and that are new in each event. The zero value is ready for use.
type Repeat struct {
	lines  []byte // of the event that was learned; empty: nothing was
	thinks bool   // it is reasoning
	gaps   [maxGaps]gap
	n      int // number of gaps
	misses int // events in a row that were learned in vain
}

// A gap is where events may differ that repeat each other: at a string or number in lines.
type gap struct {
	from, to uint16
	holds    held
}

// A held is what is in a gap.
type held uint8

const (
	padding   held = iota
	theNumber      // of the event
	theText        // of the event
)

const (
	maxGaps = 3 // a text, a number and padding
	// maxMisses is after how many events that were learned in vain a stream counts as one
	// whose events are all different, as those with a time in each.
	maxMisses = 8
	// maxRepeat bounds what is kept of an event, and the text of one that repeats it, in bytes.
	// A longer one would be read again and again while it comes.
	maxRepeat = 2 << 10
)

// Next reads the event that a stream goes on with, if all of it is there and it repeats the
// one before. It returns the length of the event, and 0 if it has read nothing.
func (r *Repeat) Next(a *Answer, stream []byte) int {
	text, count, n := r.match(stream)
	if n > 0 {
		r.misses = 0
		r.apply(a, text)
		if a.Transcript != nil && count != nil && a.Transcript.Frame != nil {
			a.Transcript.Frame.Sequence = count.index()
		}
	}
	return n
}

// Event is a.Event for an event that Next did not read. data is its only data line's value, a
// part of the lines of the event.
func (r *Repeat) Event(a *Answer, lines, data []byte) Signal {
	if r.misses >= maxMisses {
		return a.Event(data)
	}
	before, transcript, said := *a, Transcript{}, Said{}
	if a.Transcript != nil {
		transcript = *a.Transcript
	}
	if a.Said != nil {
		said = *a.Said
	}
	signal := a.Event(data)
	if signal == Payload {
		r.learn(a, lines, data, before, transcript, &said)
	}
	return signal
}

// match returns the inside of the text of an event that repeats what was learned, its number
// if it has one, and the event's length. The length is 0 if stream does not begin with such an
// event.
func (r *Repeat) match(stream []byte) (text []byte, count value, n int) {
	at := 0 // in lines, as n in stream
	for _, gap := range r.gaps[:r.n] {
		same := r.lines[at:gap.from]
		if len(stream)-n <= len(same) || string(stream[n:n+len(same)]) != string(same) {
			return nil, nil, 0
		}
		n += len(same)
		c := cursor{text: stream[:min(len(stream), n+maxRepeat)], at: n}
		switch {
		case stream[n] == '"':
			c.string()
		case gap.holds != theText:
			c.number()
		default:
			return nil, nil, 0
		}
		if c.bad {
			return nil, nil, 0
		}
		switch {
		case gap.holds == theText:
			text = stream[n+1 : c.at-1]
		case gap.holds == theNumber && stream[n] != '"':
			count = stream[n:c.at]
		}
		at, n = int(gap.to), c.at
	}
	same := r.lines[at:]
	if len(text) == 0 || len(stream)-n < len(same) || string(stream[n:n+len(same)]) != string(same) {
		return nil, nil, 0
	}
	return text, count, n + len(same)
}

// apply does to a what the learned event did. text is the inside of a text.
func (r *Repeat) apply(a *Answer, text []byte) {
	a.HasContent = true
	a.say(text)
	if s := a.Said; s != nil {
		if r.thinks {
			s.Reasoning = append(s.Reasoning, text...)
		} else {
			s.Text = append(s.Text, text...)
		}
	}
	if a.Transcript != nil {
		a.Transcript.add(r.thinks, text)
	}
	switch a.Wire {
	case Messages:
		a.goOn()
	case Chat:
		a.begun = true
		if !a.goesOn() {
			a.takeIndex(0, false, true)
		}
	case Responses:
		a.begun = true
	}
}

// learn keeps the lines of an event that a has just read, if apply would have done the same
// to a. before, transcript and saidBefore are from before the event.
func (r *Repeat) learn(a *Answer, lines, data []byte, before Answer, transcript Transcript, saidBefore *Said) {
	r.misses++
	r.n = 0
	text := textOf(a.Wire, data)
	if len(text) == 0 || len(lines) > maxRepeat || !endsBlank(lines) {
		return
	}
	before.Transcript, before.Said = nil, nil
	before.hasModel, before.hasFingerprint = a.hasModel, a.hasFingerprint // what repeats the event names no other
	r.apply(&before, text)
	before.Transcript, before.Said = a.Transcript, a.Said
	if before != *a {
		return
	}
	said, transcribed := a.Said, a.Transcript
	r.thinks = said != nil && len(said.Reasoning) > len(saidBefore.Reasoning) || transcribed != nil && len(transcribed.Reasoning) > len(transcript.Reasoning)
	if said != nil && !saidBefore.grewBy(text, r.thinks, said) || transcribed != nil && !transcript.grewBy(text, r.thinks, transcribed) {
		return
	}
	r.lines = append(r.lines[:0], lines...)
	r.addGap(lines, data[cap(data)-cap(text)-len(`"`):][:len(text)+len(`""`)], theText)
	c := cursor{text: data}
	for c.enter('{'); c.more('}') && r.n < maxGaps; {
		holds := padding
		switch string(c.key()) {
		case "sequence_number": // in Responses' events
			holds = theNumber
			fallthrough
		case "obfuscation": // in OpenAI's
			if v := c.value(); v.is('"') || len(v) > 0 && isDigit(v[0]) {
				r.addGap(lines, v, holds)
			}
		default:
			c.skip()
		}
	}
}

// endsBlank reports whether lines end in the blank line that ends an event. Without it, what
// follows may belong to the event, too.
func endsBlank(lines []byte) bool {
	return bytes.HasSuffix(lines, []byte("\n\n")) || bytes.HasSuffix(lines, []byte("\n\r\n"))
}

// addGap adds a gap at v, which is a part of lines, so that the gaps stay in order.
func (r *Repeat) addGap(lines, v []byte, holds held) {
	from := cap(lines) - cap(v)
	i := r.n
	for ; i > 0 && int(r.gaps[i-1].from) > from; i-- {
		r.gaps[i] = r.gaps[i-1]
	}
	r.gaps[i] = gap{uint16(from), uint16(from + len(v)), holds}
	r.n++
}

// grewBy reports whether now is t with one more text.
func (t *Transcript) grewBy(text []byte, thinks bool, now *Transcript) bool {
	content, reasoning := len(text), 0
	if thinks {
		content, reasoning = reasoning, content
	}
	return len(now.Text) == len(t.Text)+content && len(now.Reasoning) == len(t.Reasoning)+reasoning && now.Other == t.Other && now.Late == t.Late
}

// grewBy reports whether now is s with one text more.
func (s *Said) grewBy(text []byte, thinks bool, now *Said) bool {
	content, reasoning := len(text), 0
	if thinks {
		content, reasoning = reasoning, content
	}
	return len(now.Text) == len(s.Text)+content && len(now.Reasoning) == len(s.Reasoning)+reasoning &&
		len(now.Whole) == len(s.Whole) && now.Other == s.Other
}

// texts are where the events of a wire have their text: the path to an object, and the
// names of its members that may be the text.
var texts = map[Wire][]struct {
	path  []string
	names [][]byte
}{
	Chat: {
		{[]string{"choices", "0", "delta"}, [][]byte{[]byte("content"), []byte("reasoning_content"), []byte("reasoning")}},
	},
	Messages: {
		{[]string{"delta"}, [][]byte{[]byte("text"), []byte("thinking")}},
	},
	Responses: {
		{nil, [][]byte{[]byte("delta")}},
	},
}

// textOf returns the inside of an event's text.
func textOf(w Wire, data []byte) []byte {
	for _, t := range texts[w] {
		object := value(data).get(t.path...)
		for _, name := range t.names {
			if v := object.get(string(name)); v.isText() {
				return v[1 : len(v)-1]
			}
		}
	}
	return nil
}
