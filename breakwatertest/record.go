package breakwatertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/recording"
)

// RecordOptions say where a [Recorder] writes, and what it leaves out. Dir or Writer must be
// set.
type RecordOptions struct {
	// Dir is the folder of the records, which is made if there is none. Each exchange has a
	// file, such as 0001-chat-completions.txt. Files that are there stay, and the numbers go
	// on. Only one Recorder may write to a folder at a time.
	Dir string
	// Writer, if Dir is empty, gets each record in one Write. No two Writes overlap.
	Writer io.Writer
	// MaxBody is how many bytes of a request's body, and of a response's, are kept in memory
	// and written. The record says if there was more. Default 16 MiB.
	MaxBody int64
	// Redact may overwrite bytes of what is written, in place: prompts, names. Keys are
	// removed before. part is "url", "header" (a value), "request", "response" (a body) or
	// "error". It may be called by several goroutines at once. nil: no more is removed.
	Redact func(part string, text []byte)
}

// A Recorder is an [http.RoundTripper] that writes what was really seen: requests, responses
// with the time of each read, and errors of the network. [Replay] plays it again.
//
// What a body brings is passed on at once. A record is written when the body has ended, just
// before the Read or the Close that ends it returns, and never in part.
//
// Keys are removed: the values of headers and of parameters that may hold one or say who
// calls (Authorization, X-Api-Key, Cookie, OpenAI-Organization and the like), the user of a
// URL, whatever repeats these elsewhere, in a body too, and what has the form of a key. An
// exchange with a coded body that cannot be searched for keys is not written: [Recorder.Close]
// tells. Prompts and answers are written. See RecordOptions.Redact.
type Recorder struct {
	base    http.RoundTripper
	options RecordOptions

	mu     sync.Mutex
	serial int
	open   map[*take]struct{}
	closed bool
	failed []error

	writing sync.Mutex // held while a record is written
}

// Record returns a Recorder above base. A base of nil is [http.DefaultTransport]. Give the
// Recorder to breakwater.WithBase, or to an [http.Client].
func Record(base http.RoundTripper, o RecordOptions) (*Recorder, error) {
	switch {
	case o.Dir == "" && o.Writer == nil:
		return nil, errors.New("breakwatertest: RecordOptions have neither a Dir nor a Writer")
	case o.MaxBody < 0:
		return nil, fmt.Errorf("breakwatertest: RecordOptions.MaxBody is %d, want bytes", o.MaxBody)
	}
	if base == nil {
		base = http.DefaultTransport
	}
	o.MaxBody = cmp.Or(o.MaxBody, 16<<20)
	r := &Recorder{base: base, options: o, open: make(map[*take]struct{})}
	if o.Dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("breakwatertest: making the folder of records: %w", err)
	}
	files, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("breakwatertest: reading the folder of records: %w", err)
	}
	for _, f := range files {
		r.serial = max(r.serial, recordNumber(f.Name()))
	}
	return r, nil
}

// recordNumber returns the number that begins the name of a record's file, or 0.
func recordNumber(name string) int {
	number, _, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// RoundTrip sends the request through the base, and records it.
func (r *Recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	t := r.begin(req)
	if t == nil {
		return r.base.RoundTrip(req)
	}
	resp, err := r.base.RoundTrip(t.wrapped(req))
	if err != nil {
		t.end(err)
		return resp, err
	}
	t.respond(resp)
	return resp, nil
}

// CloseIdleConnections closes those of the base.
func (r *Recorder) CloseIdleConnections() {
	if base, ok := r.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// Close writes the exchanges that are still under way as they are, and returns why records
// could not be written. Later requests pass unrecorded.
func (r *Recorder) Close() error {
	r.mu.Lock()
	r.closed = true
	var open []*take
	for t := range r.open {
		open = append(open, t)
	}
	r.mu.Unlock()
	for _, t := range open {
		t.finish(recording.EndOpen, nil)
	}
	r.writing.Lock() // another goroutine may be writing its record
	defer r.writing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.failed...)
}

// begin returns a new exchange, or nil if the Recorder is closed.
func (r *Recorder) begin(req *http.Request) *take {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.serial++
	t := &take{recorder: r, number: r.serial, start: time.Now(), ctx: req.Context()}
	t.cancel = req.Cancel //lint:ignore SA1019 a client may use it, with any transport
	t.header, t.clean = req.Header.Clone(), recording.NewRedactor(req, r.options.Redact)
	t.x.At, t.x.Method = t.start, cmp.Or(req.Method, http.MethodGet)
	if req.URL != nil {
		u := *req.URL
		t.url = &u
	}
	t.x.Sent = recording.SentWhole
	r.open[t] = struct{}{}
	return t
}

// write writes an exchange, and notes why it could not.
func (r *Recorder) write(t *take) {
	text, err := t.text()
	if err == nil {
		r.writing.Lock()
		defer r.writing.Unlock()
		if r.options.Dir == "" {
			_, err = r.options.Writer.Write(text)
		} else {
			err = writeFile(r.options.Dir, t.name(), text)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, t)
	if err != nil && len(r.failed) < 100 {
		r.failed = append(r.failed, fmt.Errorf("breakwatertest: record %d was not written: %w", t.number, err))
	}
}

// writeFile writes a file as a whole or not at all.
func writeFile(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, ".record-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says more
	}
	return err
}

// A take is one exchange while it is recorded.
type take struct {
	recorder *Recorder
	number   int
	start    time.Time
	ctx      context.Context
	cancel   <-chan struct{}
	header   http.Header
	clean    *recording.Redactor
	url      *url.URL

	mu   sync.Mutex
	x    recording.Exchange
	resp *http.Response
	kept int64 // bytes of the response's body, and what its reads cost
	cut  bool  // the response's body is larger than is kept
	over bool
}

// left reports whether the client has cancelled the request.
func (t *take) left() bool {
	select {
	case <-t.cancel: // never, if it is nil
		return true
	default:
		return t.ctx.Err() != nil
	}
}

// end ends an exchange that failed.
func (t *take) end(err error) {
	if t.left() {
		t.finish(recording.EndCanceled, nil)
		return
	}
	t.finish(recording.EndError, err)
}

// finish ends the exchange, once, and writes it.
func (t *take) finish(end recording.End, err error) {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	t.over = true
	t.x.End, t.x.EndAfter, t.x.Err = end, time.Since(t.start), err
	if t.cut {
		t.x.End, t.x.Err = recording.EndTruncated, nil
	}
	if t.resp != nil && end == recording.EndEOF {
		t.x.Response.Trailer = t.resp.Trailer.Clone()
	}
	t.mu.Unlock()
	t.recorder.write(t)
}

// name returns the name of the record's file: its number, and the end of the path.
func (t *take) name() string {
	path := ""
	if t.url != nil {
		parts := strings.Split(strings.Trim(string(t.clean.Text("url", []byte(t.url.Path))), "/"), "/")
		path = strings.Join(parts[max(0, len(parts)-2):], "-")
	}
	path = strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z' {
			return r
		}
		return -1
	}, path)
	return fmt.Sprintf("%04d-%s.txt", t.number, cmp.Or(path[:min(len(path), 60)], "root"))
}

// text returns the record without keys.
func (t *take) text() ([]byte, error) {
	t.mu.Lock()
	x := t.x
	x.Body = t.x.Body[:len(t.x.Body):len(t.x.Body)]
	t.mu.Unlock() // nothing changes an exchange that is over
	var err error
	x.URL, x.Header = t.clean.URL(t.url), t.clean.Header(t.header)
	if x.Response != nil {
		r := *x.Response
		r.Header, r.Trailer = t.clean.Header(r.Header), t.clean.Header(r.Trailer)
		body, bad := t.clean.Body("response", x.Response.Header, r.Body())
		if bad != nil {
			return nil, bad
		}
		r.Reads = nil
		for _, read := range x.Response.Reads {
			r.Reads = append(r.Reads, recording.Read{After: read.After, Data: body[:len(read.Data):len(read.Data)]})
			body = body[len(read.Data):]
		}
		x.Response = &r
	}
	if x.Body, err = t.clean.Body("request", t.header, x.Body); err != nil {
		return nil, err
	}
	x.Err = t.clean.Err(x.Err)
	return x.Append(nil), nil
}
