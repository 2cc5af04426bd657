package breakwatertest

import (
	"compress/gzip"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// An outlet writes an answer's bytes to the client. It acts out the faults that
// change only how the bytes are sent.
type outlet struct {
	gzip  *gzip.Writer // nil if the answer is not compressed
	held  []byte       // pieces that were not written yet
	pends int          // the number of these pieces
	dice  *rand.Rand
	began time.Time // when the first byte of a slow body was sent
	sent  int
}

// gluedEvents is the number of events that [Glued] writes at once.
const gluedEvents = 4

// openOutlet prepares the outlet. It must be called before the headers are sent.
func (e *exchange) openOutlet() {
	switch e.fault.kind {
	case kindGzip, kindGzipBomb:
		if strings.Contains(strings.ToLower(e.in.Header.Get("Accept-Encoding")), "gzip") {
			e.w.Header().Set("Content-Encoding", "gzip")
			e.out.gzip, _ = gzip.NewWriterLevel(e.w, gzip.BestSpeed) // never fails with this level
		}
	case kindSplitAnywhere:
		e.out.dice = rand.New(rand.NewPCG(uint64(e.fault.size), 0))
	}
}

// send writes a piece and flushes it, so that it is sent on its own.
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

// sendSlowly keeps the pace on average. A real clock may be coarser than the pace,
// so bytes that are overdue are sent together.
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

// release writes the pieces that are held.
func (e *exchange) release() {
	if len(e.out.held) > 0 {
		e.write(e.out.held)
	}
	e.out.held, e.out.pends = e.out.held[:0], 0
}

// closeOutlet ends an answer that no fault has cut.
func (e *exchange) closeOutlet() {
	e.release()
	if e.out.gzip != nil && e.out.gzip.Close() != nil {
		e.abort()
	}
}

func (e *exchange) write(piece []byte) {
	if e.fault.kind == kindGoAwayMidway {
		// HTTP/2 frames are sent a little after Flush has returned. A frame that we
		// write ourselves must not overtake them.
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

// withoutSpaces removes the space that may follow the name of an event's field. No
// line of our JSON begins like such a field.
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
