package breakwatertest

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"time"
)

// net/http serves HTTP/2, but its handlers cannot send GOAWAY or refuse a stream.
// So this file writes a few frames itself. A connection that begins while such a
// fault is set never reaches net/http. A handler that must send GOAWAY writes the
// frame directly to net/http's connection, in one piece.

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

// interceptHTTP2 makes connections pass through serveRaw, if a fault needs it, instead
// of net/http.
func (s *Server) interceptHTTP2() {
	// ServeTLS on a closed listener only sets up TLSNextProto.
	closed := newPipeListener("nowhere")
	_ = closed.Close()                  // never fails
	_ = s.http.ServeTLS(closed, "", "") // always fails
	ordinary := s.http.TLSNextProto["h2"]
	s.http.TLSNextProto["h2"] = func(hs *http.Server, conn *tls.Conn, h http.Handler) {
		if _, raw := s.rawFault(); raw {
			s.serveRaw(conn)
			return
		}
		ordinary(hs, conn, h)
	}
}

// rawFault returns the host's fault, and whether serveRaw must act it out. Faults
// that BreakNext has queued come first, and they need net/http's requests.
func (s *Server) rawFault() (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, len(s.next) == 0 && (s.fault.kind == kindGoAway || s.fault.kind == kindRefusedStream)
}

// serveRaw refuses one stream after another, or ends the connection with GOAWAY.
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
		case kind == frameHeaders && stream > last: // otherwise the frame is a trailer
			fault, raw := s.rawFault()
			if raw {
				s.recordRaw(fault)
			}
			if fault.kind != kindRefusedStream {
				code := uint32(noError) // the fault is over, and the client's next connection reaches net/http
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

// recordRaw records a request of which only the time is known.
func (s *Server) recordRaw(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	s.requests = append(s.requests, Request{Time: time.Now(), Fault: f.name})
}

// drain reads what the client still sends. Without it the socket would be closed
// with unread data, which resets the connection, and the client would miss what was
// sent to it.
func drain(conn *tls.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // fails only if the connection has ended
	_, _ = io.Copy(io.Discard, conn)                      // returns an error at the deadline
}

// goAway tells the client that streams above last were not processed, and closes the
// connection for writing. It returns false if the connection is not HTTP/2.
func (e *exchange) goAway(last, code uint32) bool {
	conn, ok := e.ctx.Value(connKey{}).(*tls.Conn)
	if !ok || conn.ConnectionState().NegotiatedProtocol != "h2" {
		return false
	}
	sendAway(conn, last, code)
	return true
}

// breakOff sends a last piece and then ends the answer in the middle.
func (e *exchange) breakOff(piece string) {
	if piece != "" {
		e.send(piece)
	}
	e.goAway(anyStream, internalError)
	e.abort()
}

func sendAway(conn *tls.Conn, last, code uint32) {
	payload := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, last), code)
	_ = writeFrame(conn, frameGoAway, 0, 0, payload) // fails only if the client has left
	_ = conn.CloseWrite()                            // the same
}

// writeFrame writes a frame with one call of Write, so that it cannot end up inside
// another frame.
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
