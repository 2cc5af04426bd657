package wire

// A Repeat reads the events of one stream, and fast those that repeat the one before but
// for their text. Nearly all chunks of a chat do. The parser reads an event from front to
// end and does not look into a text, so such an event means the same and only its text is
// new. The zero value is ready for use.
type Repeat struct {
	before, after []byte // what stands around the text; empty: nothing was learned
	key           []byte // the name of the text
	misses        int    // events in a row that were learned in vain
}

const (
	// maxMisses is after how many events that were learned in vain a stream counts as one
	// whose events are all different, as those with a number or a time in each.
	maxMisses = 8
	// maxRepeat bounds what is kept of an event, in bytes.
	maxRepeat = 2 << 10
)

// Event is a.Event.
func (r *Repeat) Event(a *Answer, data []byte) Signal {
	if text := r.match(data); text != nil {
		r.misses = 0
		r.apply(a, text)
		return Payload
	}
	if r.misses >= maxMisses || a.Wire != Chat && a.Wire != Messages {
		return a.Event(data)
	}
	before, transcript := *a, Transcript{}
	if a.Transcript != nil {
		transcript = *a.Transcript
	}
	signal := a.Event(data)
	if signal == Payload {
		r.learn(a, data, before, transcript)
	}
	return signal
}

// match returns the text of an event that repeats what was learned, or nil.
func (r *Repeat) match(data []byte) value {
	at := len(r.before)
	if at == 0 || len(data) < at+len(r.after) || string(data[:at]) != string(r.before) || data[at] != '"' {
		return nil
	}
	c := cursor{text: data, at: at}
	c.string()
	text := value(data[at:c.at])
	if c.bad || !text.isText() || string(data[c.at:]) != string(r.after) {
		return nil
	}
	return text
}

// apply does to a what the learned event did.
func (r *Repeat) apply(a *Answer, text value) {
	a.HasContent = true
	if a.Wire == Chat {
		a.begun = true
		a.takeIndex(0, false, true)
		a.Transcript.take(r.key, text)
	}
}

// learn keeps what stands around the text of an event that a has just read, if apply would
// have done the same to a. before and transcript are those from before the event.
func (r *Repeat) learn(a *Answer, data []byte, before Answer, transcript Transcript) {
	r.misses++
	r.before, r.after = r.before[:0], r.after[:0]
	key, text := textOf(a.Wire, data)
	if text == nil || len(data)-len(text) > maxRepeat {
		return
	}
	r.key = key
	before.Transcript = nil
	r.apply(&before, text)
	before.Transcript = a.Transcript
	if before != *a || !transcript.grewBy(key, text, a.Transcript) {
		return
	}
	at := cap(data) - cap(text) // text is a part of data
	r.before = append(r.before, data[:at]...)
	r.after = append(r.after, data[at+len(text):]...)
}

// grewBy reports whether now is t with one more text. It is so if nothing is recorded.
func (t Transcript) grewBy(key []byte, text value, now *Transcript) bool {
	if now == nil {
		return true
	}
	content, reasoning := len(text)-len(`""`), 0
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

// textOf returns the text of an event, in its quotes, and the name of the text.
func textOf(w Wire, data []byte) (name []byte, text value) {
	for _, t := range texts[w] {
		object := value(data).get(t.path...)
		for _, name := range t.names {
			if v := object.get(string(name)); v.isText() {
				return name, v
			}
		}
	}
	return nil, nil
}
