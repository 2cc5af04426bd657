package breakwatertest

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"time"
)

// net/http serves HTTP/2, but lets no handler say GOAWAY or refuse a stream. So
// a connection that is made while such a fault is set gets a few hand-written
// frames instead; and a handler that must say GOAWAY writes the frame past
// net/http, in one piece, onto the same connection.

// https://www.rfc-editor.org/rfc/rfc9113
const (
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	framePing     = 6
	frameGoAway   = 7

	flagAck = 1

	noError       = 0
	internalError = 2
	refusedStream = 7

	prefaceLen = 24
	anyStream  = 1<<31 - 1
)

// interceptHTTP2 puts our own handling before net/http's.
func (s *Server) interceptHTTP2() {
	// Serving a closed listener does nothing but set up TLSNextProto.
	closed := newPipeListener("nowhere")
	_ = closed.Close()                  // it never fails
	_ = s.http.ServeTLS(closed, "", "") // it always does
	ordinary := s.http.TLSNextProto["h2"]
	s.http.TLSNextProto["h2"] = func(hs *http.Server, conn *tls.Conn, h http.Handler) {
		if _, raw := s.rawFault(); raw {
			s.serveRaw(conn)
			return
		}
		ordinary(hs, conn, h)
	}
}

// rawFault is the fault that a stream must meet by hand-written frames, if there
// is one. What BreakNext has queued comes first, and needs a real request.
func (s *Server) rawFault() (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, len(s.next) == 0 && (s.fault.kind == kindGoAway || s.fault.kind == kindRefusedStream)
}

// serveRaw refuses one stream after another, or sends the client away.
func (s *Server) serveRaw(conn *tls.Conn) {
	if writeFrame(conn, frameSettings, 0, 0, nil) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, conn, prefaceLen); err != nil {
		return
	}
	var last uint32 // the last stream that was refused
	for {
		kind, flags, stream, payload, err := readFrame(conn)
		switch {
		case err != nil:
			return
		case kind == frameSettings && flags&flagAck == 0:
			err = writeFrame(conn, frameSettings, flagAck, 0, nil)
		case kind == framePing && flags&flagAck == 0:
			err = writeFrame(conn, framePing, flagAck, 0, payload)
		case kind == frameHeaders && stream > last: // or it is a trailer
			fault, raw := s.rawFault()
			if raw {
				s.recordRaw(fault)
			}
			if fault.kind != kindRefusedStream {
				code := uint32(noError) // the fault is over: the client comes back to a real connection
				if raw {
					code = internalError
				}
				sendAway(conn, last, code)
				drain(conn)
				return
			}
			last = stream
			err = writeFrame(conn, frameReset, 0, stream, binary.BigEndian.AppendUint32(nil, refusedStream))
		}
		if err != nil {
			return
		}
	}
}

// recordRaw keeps a request of which nothing was read.
func (s *Server) recordRaw(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	s.requests = append(s.requests, Request{Time: time.Now(), Fault: f.name})
}

// drain lets the client read what was sent before the connection ends: a socket
// closed with unread data resets.
func drain(conn *tls.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // then draining is as short as the client likes
	_, _ = io.Copy(io.Discard, conn)                      // as above
}

// goAway says that streams above last were not processed, and ends the
// connection's sending side. It reports whether the connection is HTTP/2.
func (e *exchange) goAway(last, code uint32) bool {
	conn, ok := e.ctx.Value(connKey{}).(*tls.Conn)
	if !ok || conn.ConnectionState().NegotiatedProtocol != "h2" {
		return false
	}
	sendAway(conn, last, code)
	return true
}

// breakOff ends an answer in the middle, behind a last piece.
func (e *exchange) breakOff(piece string) {
	if piece != "" {
		e.send(piece)
	}
	e.goAway(anyStream, internalError)
	e.abort()
}

func sendAway(conn *tls.Conn, last, code uint32) {
	payload := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, last), code)
	_ = writeFrame(conn, frameGoAway, 0, 0, payload) // a client that left needs none
	_ = conn.CloseWrite()                            // as above
}

// writeFrame writes it at once, or it could end up inside another.
func writeFrame(w io.Writer, kind, flags byte, stream uint32, payload []byte) error {
	n := len(payload)
	frame := append(make([]byte, 0, 9+n), byte(n>>16), byte(n>>8), byte(n), kind, flags)
	frame = append(binary.BigEndian.AppendUint32(frame, stream), payload...)
	_, err := w.Write(frame)
	return err
}

func readFrame(r io.Reader) (kind, flags byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return
	}
	payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(r, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]) & anyStream, payload, err
}
