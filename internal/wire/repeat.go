package wire

// A Repeat reads the events of one stream that repeat the one before but for their text, as
// nearly all chunks of a chat do. The parser reads an event from front to end and does not
// look into a text, so such an event means the same and only its text is new. A text has no
// line ends either, so its lines mean the same. The zero value is ready for use.
type Repeat struct {
	before, after []byte // what stands around the text, quotes included; empty: nothing was learned
	key           []byte // the name of the text
	misses        int    // events in a row that were learned in vain
}

const (
	// maxMisses is after how many events that were learned in vain a stream counts as one
	// whose events are all different, as those with a number or a time in each.
	maxMisses = 8
	// maxRepeat bounds what is kept of an event, and the text of one that repeats it, in bytes.
	// A longer one would be read again and again while it comes.
	maxRepeat = 2 << 10
)

// Next reads the event that a stream goes on with, if all of it is there and it repeats the
// one before. It returns the length of the event, and 0 if it has read nothing.
func (r *Repeat) Next(a *Answer, stream []byte) int {
	text := r.match(stream)
	if len(text) == 0 {
		return 0
	}
	r.misses = 0
	r.apply(a, text)
	return len(r.before) + len(text) + len(r.after)
}

// Event is a.Event for an event that Next did not read. data is its only data line's value, a
// part of the lines of the event.
func (r *Repeat) Event(a *Answer, lines, data []byte) Signal {
	if r.misses >= maxMisses || a.Wire != Chat && a.Wire != Messages {
		return a.Event(data)
	}
	before, transcript := *a, Transcript{}
	if a.Transcript != nil {
		transcript = *a.Transcript
	}
	signal := a.Event(data)
	if signal == Payload {
		r.learn(a, lines, data, before, transcript)
	}
	return signal
}

// match returns the inside of the text of an event that repeats what was learned. It is empty
// if stream does not begin with such an event.
func (r *Repeat) match(stream []byte) []byte {
	at := len(r.before)
	if at == 0 || len(stream) < at || string(stream[:at]) != string(r.before) {
		return nil
	}
	c := cursor{text: stream[:min(len(stream), at+maxRepeat)], at: at - len(`"`)}
	c.string()
	end := c.at - len(`"`)
	if c.bad || len(stream)-end < len(r.after) || string(stream[end:end+len(r.after)]) != string(r.after) {
		return nil
	}
	return stream[at:end]
}

// apply does to a what the learned event did. text is the inside of a text.
func (r *Repeat) apply(a *Answer, text []byte) {
	a.HasContent = true
	if a.Wire == Chat {
		a.begun = true
		a.takeIndex(0, false, true)
		a.Transcript.take(r.key, text)
	}
}

// learn keeps what stands around the text of an event that a has just read, if apply would
// have done the same to a. before and transcript are those from before the event.
func (r *Repeat) learn(a *Answer, lines, data []byte, before Answer, transcript Transcript) {
	r.misses++
	r.before, r.after = r.before[:0], r.after[:0]
	key, text := textOf(a.Wire, data)
	if len(text) == 0 || len(lines)-len(text) > maxRepeat {
		return
	}
	r.key = key
	before.Transcript = nil
	r.apply(&before, text)
	before.Transcript = a.Transcript
	if before != *a || !transcript.grewBy(key, text, a.Transcript) {
		return
	}
	at := cap(lines) - cap(text) // text is a part of lines
	r.before = append(r.before, lines[:at]...)
	r.after = append(r.after, lines[at+len(text):]...)
}

// grewBy reports whether now is t with one more text. It is so if nothing is recorded.
func (t Transcript) grewBy(key, text []byte, now *Transcript) bool {
	if now == nil {
		return true
	}
	content, reasoning := len(text), 0
	if string(key) != "content" {
		content, reasoning = reasoning, content
	}
	return len(now.Text) == len(t.Text)+content && len(now.Reasoning) == len(t.Reasoning)+reasoning && now.Other == t.Other
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
}

// textOf returns the inside of an event's text, and the name of the text.
func textOf(w Wire, data []byte) (name, text []byte) {
	for _, t := range texts[w] {
		object := value(data).get(t.path...)
		for _, name := range t.names {
			if v := object.get(string(name)); v.isText() {
				return name, v[1 : len(v)-1]
			}
		}
	}
	return nil, nil
}
