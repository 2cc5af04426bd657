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
func (x *exchange) openOutlet() {
	switch x.fault.kind {
	case kindGzip, kindGzipBomb:
		if strings.Contains(strings.ToLower(x.in.Header.Get("Accept-Encoding")), "gzip") {
			x.w.Header().Set("Content-Encoding", "gzip")
			x.out.gzip, _ = gzip.NewWriterLevel(x.w, gzip.BestSpeed) // the level is known
		}
	case kindSplitAnywhere:
		x.out.dice = rand.New(rand.NewPCG(uint64(x.fault.size), 0))
	}
}

// send writes a piece and flushes it, so that it leaves as one.
func (x *exchange) send(piece string) {
	switch x.fault.kind {
	case kindCRLF:
		piece = strings.ReplaceAll(piece, "\n", "\r\n")
	case kindNoSpace:
		piece = withoutSpaces(piece)
	case kindByteByByte:
		for i := range len(piece) {
			x.write([]byte{piece[i]})
		}
		return
	case kindSlowBody:
		x.sendSlowly(piece)
		return
	case kindGlued:
		x.out.held = append(x.out.held, piece...)
		if x.out.pends++; x.out.pends == gluedEvents {
			x.release()
		}
		return
	case kindSplitAnywhere:
		x.out.held = append(x.out.held, piece...)
		for {
			n := 1 + x.out.dice.IntN(48)
			if n >= len(x.out.held) {
				return
			}
			x.write(x.out.held[:n])
			x.out.held = x.out.held[n:]
		}
	}
	x.write([]byte(piece))
}

// sendSlowly keeps to the pace on average: a real clock is coarser than what
// may be asked of it, and bytes that are overdue go out together.
func (x *exchange) sendSlowly(piece string) {
	o := &x.out
	if o.began.IsZero() {
		o.began = time.Now()
	}
	for len(piece) > 0 {
		x.wait(time.Until(o.began.Add(time.Duration(o.sent+1) * x.fault.wait)))
		n := 1
		if x.fault.wait > 0 {
			n = max(1, int(time.Since(o.began)/x.fault.wait)-o.sent)
		}
		n = min(n, len(piece))
		x.write([]byte(piece[:n]))
		o.sent, piece = o.sent+n, piece[n:]
	}
}

// release writes what is held.
func (x *exchange) release() {
	if len(x.out.held) > 0 {
		x.write(x.out.held)
	}
	x.out.held, x.out.pends = x.out.held[:0], 0
}

// closeOutlet ends an answer that ends well.
func (x *exchange) closeOutlet() {
	x.release()
	if x.out.gzip != nil && x.out.gzip.Close() != nil {
		x.abort()
	}
}

func (x *exchange) write(piece []byte) {
	if x.fault.kind == kindGoAwayMidway {
		// HTTP/2 frames leave a little later than Flush returns, and what is
		// written past net/http must not overtake them.
		conn := x.conn()
		defer conn.waitSent(conn.sent() + len(piece))
	}
	var err error
	if x.out.gzip == nil {
		_, err = x.w.Write(piece)
	} else if _, err = x.out.gzip.Write(piece); err == nil {
		err = x.out.gzip.Flush()
	}
	if err != nil {
		x.abort()
	}
	x.flush()
}

func (x *exchange) flush() {
	if err := http.NewResponseController(x.w).Flush(); err != nil {
		x.abort()
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
