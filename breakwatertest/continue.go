package breakwatertest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
)

// refuseContinue hijacks the connection, because net/http would send "100 Continue"
// as soon as the body is read. end closes the connection. HTTP/2 connections cannot
// be hijacked, so refuseContinue does nothing there.
func (e *exchange) refuseContinue(r *http.Request) (end func()) {
	if r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		return func() {}
	}
	conn, buffer, err := http.NewResponseController(e.w).Hijack()
	if err != nil {
		e.abort()
	}
	if r.ContentLength >= 0 {
		r.Body = io.NopCloser(io.LimitReader(buffer, r.ContentLength))
	} else {
		r.Body = io.NopCloser(httputil.NewChunkedReader(buffer))
	}
	e.w = &bareWriter{conn: conn, buffer: buffer.Writer, header: make(http.Header)}
	return func() {
		_ = conn.Close()       // it may be closed already
		e.s.fleet.conns.Done() // net/http no longer counts it
	}
}

// A bareWriter writes a response to a hijacked connection, which ends with it.
type bareWriter struct {
	conn   net.Conn
	buffer *bufio.Writer
	header http.Header
	begun  bool
}

func (w *bareWriter) Header() http.Header { return w.header }

func (w *bareWriter) WriteHeader(code int) {
	if w.begun {
		return
	}
	w.begun = true
	w.header.Set("Connection", "close")
	fmt.Fprintf(w.buffer, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	_ = w.header.Write(w.buffer) // Flush returns the error again
	_, _ = w.buffer.WriteString("\r\n")
}

func (w *bareWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.buffer.Write(p)
}

func (w *bareWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return w.buffer.Flush()
}
