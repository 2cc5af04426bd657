package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// bodies counts the bytes of the requests' bodies in memory, within a bound.
type bodies struct {
	held atomic.Int64
	max  int64
}

// take reserves n more bytes. It reports whether they are within the bound.
func (b *bodies) take(n int64) bool {
	if b.held.Add(n) <= b.max {
		return true
	}
	b.held.Add(-n)
	return false
}

func (b *bodies) give(n int64) { b.held.Add(-n) }

// bodyRate is how many bytes of a body a client must send in a second, beyond the time for the
// beginning, and maxBodyTime bounds the time for all of it.
const (
	bodyRate    = 1 << 10
	maxBodyTime = 10 * time.Minute
)

// restTime is how long the client may go on sending a body that was refused.
const restTime = 500 * time.Millisecond

var (
	refuseCoding = &refusal{http.StatusUnsupportedMediaType, "content_encoding", "a request must not be compressed: send it without Content-Encoding", 0}
	refuseSize   = &refusal{http.StatusRequestEntityTooLarge, "body_too_large", "the body of the request is larger than this proxy takes", 0}
	refuseSlow   = &refusal{http.StatusRequestTimeout, "body_too_slow", "the body of the request did not arrive in time", 0}
	refuseFull   = &refusal{http.StatusServiceUnavailable, "overloaded", "too many requests are under way", 1}
	refuseBody   = &refusal{http.StatusBadRequest, "body_unreadable", "the body of the request could not be read", 0}
)

// A bodyReader reads the bodies of requests.
type bodyReader struct {
	limits *Limits
	all    *bodies
}

// read reads the body of a request whole, so that a client that sends it slowly costs no
// endpoint anything, and so that the next one gets a length of the proxy's own counting.
// held is how many bytes to give back when the call is over, also if the request is refused.
func (b bodyReader) read(w http.ResponseWriter, r *http.Request) (text []byte, held int64, no *refusal) {
	switch coding := strings.Join(r.Header["Content-Encoding"], ","); {
	case coding != "" && !strings.EqualFold(coding, "identity"):
		return nil, 0, refuseCoding // nobody could look into it, and its true size is not known
	case r.ContentLength > b.limits.Body:
		return nil, 0, refuseSize
	case r.ContentLength == 0:
		return nil, 0, nil
	}
	control, begin := http.NewResponseController(w), time.Now()
	defer func() {
		if no == nil {
			control.SetReadDeadline(time.Time{})
		} else { // net/http looks for the end of the body, to use the connection again
			control.SetReadDeadline(time.Now().Add(restTime))
		}
	}()
	extend := func(n int) {
		control.SetReadDeadline(begin.Add(min(b.limits.BodyTime+time.Duration(n/bodyRate)*time.Second, maxBodyTime)))
	}
	extend(0)
	size, extended := int64(512), 0
	if r.ContentLength > 0 {
		size = min(r.ContentLength+1, 64<<10) // one more, so that the end is found without growing
	}
	for {
		if int64(len(text)) == int64(cap(text)) {
			if !b.all.take(size - held) {
				return nil, held, refuseFull
			}
			held = size
			text = append(make([]byte, 0, size), text...)
			size = min(size*2, b.limits.Body+1)
			if r.ContentLength > 0 {
				size = min(size, r.ContentLength+1)
			}
		}
		n, err := r.Body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case int64(len(text)) > b.limits.Body:
			return nil, held, refuseSize
		case err == io.EOF:
			return text, held, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, held, refuseSlow
		case err != nil:
			return nil, held, refuseBody
		}
		if len(text) >= extended+bodyRate*16 {
			extended = len(text)
			extend(extended)
		}
	}
}
