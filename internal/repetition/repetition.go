// Package repetition finds text that repeats itself without end, as models write that have
// lost their way. It reads a text once, from front to end, in a fixed memory of 18 KiB. It
// knows nothing of answers; any package may use it.
//
// A text repeats itself if its end is one unit again and again: a character, a word, a
// paragraph, of up to MaxPeriod bytes. Numbers in the unit may count: "1. Yes. 2. Yes." repeats
// itself as "Yes. Yes." does. A number counts if it changes by the same step each time, and
// units whose numbers count are text for the most part. So tables and logs, whose numbers
// differ in other ways, repeat nothing.
//
// The detector keeps the latest bytes in a ring. It reads them as symbols: a symbol is a byte,
// or a number of up to nine digits. At some places it keeps the next eight symbols, and at
// others it looks whether their next eight were kept. If so, the distance between the two
// places is a candidate for the length of the unit. Then each symbol has to be that of one unit
// before. The first that differs ends the candidate. Most text has few candidates, so most
// bytes are only copied.
package repetition

const (
	ring   = 8 << 10 // bytes that are kept
	window = 256     // bytes that are read at once
	ahead  = 80      // so many bytes have to follow a place where the detector looks

	// MaxPeriod is the length of the longest unit that is found, in bytes.
	MaxPeriod = ring - 4*window

	// Of every markEvery bytes, the places in the first window are kept, and one place in each
	// window is looked up. So any distance is found once in markEvery bytes.
	markEvery = 4 << 10
	markBits  = 9

	units      = 4   // so many units at least make a repetition
	maxDigits  = 9   // of a number; each digit of a longer one is a symbol
	maxNumbers = 512 // in a unit
	perNumber  = 5   // so many symbols at least has a unit for each number if its numbers count

	// number is the symbol of a number. No text has this byte, because UTF-8 never does.
	number = 0xff

	// MinLimit is the smallest limit that makes sense. Below it, verses and tables repeat
	// themselves.
	MinLimit = 1 << 10
)

// A Detector reads one text. New makes one.
type Detector struct {
	limit uint32 // bytes of repetition that count as endless
	found bool   // they have come
	n     uint32 // bytes so far
	next  uint32 // the number of bytes at which to read them

	candidate candidate
	text      [ring]byte
	marks     [1 << markBits]mark
}

// A mark is a place in the text.
type mark struct {
	key uint64 // of the eight symbols at it
	at  uint32
}

// A candidate is what the text may repeat.
type candidate struct {
	on      bool
	begun   uint32 // where it was found
	at      uint32 // how far the text is compared
	before  uint32 // the place that at is compared with, one unit before
	lapEnds uint32 // the place where before has gone through one more unit

	laps    int  // units that are compared
	symbols int  // in the unit so far
	numbers int  // among them
	counts  bool // some of them differ from those of the unit before
	dense   bool // a unit had too many numbers for its symbols
	steps   [maxNumbers]uint32
}

// New returns a detector of repetitions of at least limit bytes.
func New(limit int) *Detector { return &Detector{limit: uint32(limit), next: window} }

// Add reads on in the text. It reports whether the text repeats itself without end: whether
// anywhere so far, at least limit bytes were those of one unit before, in a row.
func (d *Detector) Add(text []byte) bool {
	for len(text) > 0 && !d.found {
		at := d.n % ring
		n := copy(d.text[at:min(ring, at+d.next-d.n)], text)
		text = text[n:]
		if d.n += uint32(n); d.n == d.next {
			d.read()
			d.next += window
		}
	}
	return d.found
}

// read reads the latest window, as far as enough bytes follow.
func (d *Detector) read() {
	end := d.n - ahead
	if d.n < 2*window {
		return
	}
	c := &d.candidate
	from := d.symbolFrom(end - window)
	if !c.on {
		d.look(from)
	}
	for c.on && !d.found && d.compare(end) {
		exact := d.look(c.at) // the symbol that ended one candidate may begin another
		d.keep(exact, c.at)   // a unit with repetitions within ends their candidates here each time
	}
	if end%markEvery < window {
		d.keepAll(from, end)
	}
}

// symbolFrom returns the first place from at on where a symbol begins: the next one if a number
// has begun before.
func (d *Detector) symbolFrom(at uint32) uint32 {
	if symbol, _, size := d.symbol(at); symbol == number && d.text[(at-1)%ring]-'0' <= 9 {
		at += size
	}
	return at
}

// symbol returns the symbol at a place, its value if it is a number, and its size in bytes.
func (d *Detector) symbol(at uint32) (symbol byte, value, size uint32) {
	b := d.text[at%ring]
	if b-'0' > 9 {
		return b, 0, 1
	}
	value = uint32(b - '0')
	for size = 1; size <= maxDigits; size++ {
		digit := d.text[(at+size)%ring] - '0'
		if digit > 9 {
			return number, value, size
		}
		value = value*10 + uint32(digit)
	}
	return b, 0, 1
}

// A reading are eight symbols in a row: as they are, and with the values of numbers.
type reading struct {
	alike, exact uint64
}

func (r *reading) add(symbol byte, value uint32) {
	r.alike = r.alike<<8 | uint64(symbol)
	if symbol == number {
		symbol = byte(value ^ value>>8)
	}
	r.exact = r.exact<<8 | uint64(symbol)
}

// keys returns the eight symbols at a place.
func (d *Detector) keys(at uint32) (alike, exact uint64) {
	var r reading
	for range 8 {
		symbol, value, size := d.symbol(at)
		r.add(symbol, value)
		at += size
	}
	return r.alike, r.exact
}

func (d *Detector) mark(key uint64) *mark {
	return &d.marks[key*0x9e3779b97f4a7c15>>(64-markBits)]
}

func (d *Detector) keep(key uint64, at uint32) { *d.mark(key) = mark{key, at} }

// keepAll keeps the places between from and end.
func (d *Detector) keepAll(from, end uint32) {
	var r reading
	var places [8]uint32 // of the latest eight symbols
	for i := 0; from < end; i++ {
		symbol, value, size := d.symbol(from)
		r.add(symbol, value)
		places[i%8] = from
		if i >= 7 {
			d.keep(r.alike, places[(i+1)%8])
			if r.exact != r.alike {
				d.keep(r.exact, places[(i+1)%8])
			}
		}
		from += size
	}
}

// look looks whether the symbols at a place were kept. Those with the same numbers are better.
func (d *Detector) look(at uint32) (exact uint64) {
	alike, exact := d.keys(at)
	if !d.begin(exact, at) && alike != exact {
		d.begin(alike, at)
	}
	return exact
}

// begin begins with a candidate if the key was kept.
func (d *Detector) begin(key uint64, at uint32) bool {
	m := d.mark(key)
	if m.key != key || at == m.at || at-m.at > MaxPeriod {
		return false
	}
	c := &d.candidate
	c.on, c.begun, c.at, c.before, c.lapEnds = true, at, at, m.at, at
	c.laps, c.symbols, c.numbers, c.counts, c.dense = 0, 0, 0, false, false
	return true
}

// compare compares the text up to end with that of one unit before. It reports whether that
// ended the candidate.
func (d *Detector) compare(end uint32) (ended bool) {
	c := &d.candidate
	for c.at < end {
		symbol, value, size := d.symbol(c.at)
		same, valueBefore, sizeBefore := d.symbol(c.before)
		if symbol != same || symbol == number && !c.number(value-valueBefore) {
			c.on = false
			return true
		}
		c.symbols++
		c.at += size
		c.before += sizeBefore
		if c.before >= c.lapEnds {
			c.dense = c.dense || c.numbers*perNumber > c.symbols
			c.laps, c.lapEnds, c.symbols, c.numbers = c.laps+1, c.at, 0, 0
		}
	}
	d.found = c.at-c.begun >= d.limit && c.laps >= units-1 && !(c.counts && c.dense)
	if period := c.at - c.before; period == 0 || period > MaxPeriod { // numbers get longer, or shorter
		c.on, d.found = false, false
	}
	return false
}

// number reads a number that differs by step from that of the unit before. It reports whether
// the number may count so.
func (c *candidate) number(step uint32) bool {
	if c.numbers == maxNumbers {
		return false
	}
	if c.laps == 0 {
		c.steps[c.numbers] = step
		c.counts = c.counts || step != 0
	}
	c.numbers++
	return step == c.steps[c.numbers-1]
}
