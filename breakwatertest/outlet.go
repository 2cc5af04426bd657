package breakwatertest

import (
	"compress/gzip"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// outlet is the last way of an answer's bytes to the client. Some faults change
// nothing but what passes here.
type outlet struct {
	gzip  *gzip.Writer // nil if the answer is not compressed
	held  []byte       // not yet written
	pends int          // how many pieces are held
	dice  *rand.Rand
	began time.Time // of the first byte of a slow body
	sent  int
}

// gluedEvents is how many events [Glued] writes at once.
const gluedEvents = 4

// openOutlet must be called before the headers leave.
func (e *exchange) openOutlet() {
	switch e.fault.kind {
	case kindGzip, kindGzipBomb:
		if strings.Contains(strings.ToLower(e.in.Header.Get("Accept-Encoding")), "gzip") {
			e.w.Header().Set("Content-Encoding", "gzip")
			e.out.gzip, _ = gzip.NewWriterLevel(e.w, gzip.BestSpeed) // the level is known
		}
	case kindSplitAnywhere:
		e.out.dice = rand.New(rand.NewPCG(uint64(e.fault.size), 0))
	}
}

// send writes a piece and flushes it, so that it leaves as one.
func (e *exchange) send(piece string) {
	switch e.fault.kind {
	case kindCRLF:
		piece = strings.ReplaceAll(piece, "\n", "\r\n")
	case kindNoSpace:
		piece = withoutSpaces(piece)
	case kindByteByByte:
		for i := range len(piece) {
			e.write([]byte{piece[i]})
		}
		return
	case kindSlowBody:
		e.sendSlowly(piece)
		return
	case kindGlued:
		e.out.held = append(e.out.held, piece...)
		if e.out.pends++; e.out.pends == gluedEvents {
			e.release()
		}
		return
	case kindSplitAnywhere:
		e.out.held = append(e.out.held, piece...)
		for {
			n := 1 + e.out.dice.IntN(48)
			if n >= len(e.out.held) {
				return
			}
			e.write(e.out.held[:n])
			e.out.held = e.out.held[n:]
		}
	}
	e.write([]byte(piece))
}

// sendSlowly keeps to the pace on average: a real clock is coarser than what
// may be asked of it, and bytes that are overdue go out together.
func (e *exchange) sendSlowly(piece string) {
	o := &e.out
	if o.began.IsZero() {
		o.began = time.Now()
	}
	for len(piece) > 0 {
		e.wait(time.Until(o.began.Add(time.Duration(o.sent+1) * e.fault.wait)))
		n := 1
		if e.fault.wait > 0 {
			n = max(1, int(time.Since(o.began)/e.fault.wait)-o.sent)
		}
		n = min(n, len(piece))
		e.write([]byte(piece[:n]))
		o.sent, piece = o.sent+n, piece[n:]
	}
}

// release writes what is held.
func (e *exchange) release() {
	if len(e.out.held) > 0 {
		e.write(e.out.held)
	}
	e.out.held, e.out.pends = e.out.held[:0], 0
}

// closeOutlet ends an answer that ends well.
func (e *exchange) closeOutlet() {
	e.release()
	if e.out.gzip != nil && e.out.gzip.Close() != nil {
		e.abort()
	}
}

func (e *exchange) write(piece []byte) {
	if e.fault.kind == kindGoAwayMidway {
		// HTTP/2 frames leave a little later than Flush returns, and what is
		// written past net/http must not overtake them.
		conn := e.conn()
		defer conn.waitSent(conn.sent() + len(piece))
	}
	var err error
	if e.out.gzip == nil {
		_, err = e.w.Write(piece)
	} else if _, err = e.out.gzip.Write(piece); err == nil {
		err = e.out.gzip.Flush()
	}
	if err != nil {
		e.abort()
	}
	e.flush()
}

func (e *exchange) flush() {
	if err := http.NewResponseController(e.w).Flush(); err != nil {
		e.abort()
	}
}

// withoutSpaces leaves out the space that may follow a field's name. JSON has no
// line of its own beginning like these.
func withoutSpaces(events string) string {
	lines := strings.SplitAfter(events, "\n")
	for i, line := range lines {
		for _, name := range []string{"data:", "event:", ":"} {
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				lines[i] = name + rest
				break
			}
		}
	}
	return strings.Join(lines, "")
}
