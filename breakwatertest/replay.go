package breakwatertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/recording"
	"github.com/breakwater-go/breakwater/internal/request"
)

// ReplayOptions say how records are played. The zero value plays them as they were.
type ReplayOptions struct {
	// Speed is how many times faster than recorded: 2 halves each wait, [math.Inf](1) leaves
	// waits out. Default 1. A wait that the recording client ended is not scaled: see
	// [Replayer].
	Speed float64
	// Once plays each record once. A further request gets a [*NoRecordError]. Otherwise the
	// last record of a request is repeated.
	Once bool
	// AnyHost plays records for any scheme, host and base path, as when the recorded host was
	// a fake one at another port.
	AnyHost bool
	// Headers are request headers that must be equal. Default none. Headers whose values
	// records do not have, such as Authorization, cannot be compared.
	Headers []string
	// Redact must be that of the RecordOptions, if they had one: it is applied to requests
	// before they are compared.
	Redact func(part string, text []byte)
}

// A Replayer is an [http.RoundTripper] that answers with records, in place of a network.
//
// A request gets the first record that was not played and has its method, host and path, and
// for an inference the same question as breakwater's cache understands it: the order of the
// JSON's members, white space, stream_options and headers do not matter. A record whose
// request the base had not read, as when the connection was refused, answers any body.
// [NoRecordError] tells which record is nearest.
//
// Status, headers, bytes, errors (with the types that net, crypto/tls and crypto/x509 give
// them) and times are the recorded ones. Where the recording client cancelled or timed out, the
// Replayer waits until its own client leaves, because nobody knows what the host would have
// done. If the recording client closed a body without reading its end, the Replayer
// ends it with io.EOF if it was whole, and with [ErrRecordEnds] otherwise.
type Replayer struct {
	options ReplayOptions

	mu      sync.Mutex
	records []*record
	byKey   map[string][]*record // by what they ask, and by their place if they answer any body
}

// ErrRecordEnds is the error of a body whose record ends before the body did: the client that
// recorded it closed it, or it was larger than RecordOptions.MaxBody.
var ErrRecordEnds = errors.New("breakwatertest: the record ends here, and the body does not")

// ErrUnplayable is the error of a record that cannot be played: it went over to another
// protocol.
var ErrUnplayable = errors.New("breakwatertest: the record goes over to another protocol")

// A RecordError says where a file is no record.
type RecordError struct {
	File   string // empty for ReplayFrom
	Line   int
	Reason string
}

// Error returns a text with the file, the line and the reason.
func (e *RecordError) Error() string {
	return fmt.Sprintf("breakwatertest: record %s:%d: %s", e.File, e.Line, e.Reason)
}

// maxRecord bounds one file of records.
const maxRecord = 512 << 20

// Replay reads the records of a folder, such as os.DirFS("testdata/outage") or an embed.FS:
// its .txt files, in the order of their numbers. An error of their text is a [*RecordError].
func Replay(dir fs.FS, o ReplayOptions) (*Replayer, error) {
	r, err := newReplayer(o)
	if err != nil {
		return nil, err
	}
	files, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("breakwatertest: reading the folder of records: %w", err)
	}
	slices.SortStableFunc(files, func(a, b fs.DirEntry) int {
		return cmp.Compare(recordNumber(a.Name()), recordNumber(b.Name()))
	})
	for _, f := range files {
		if f.IsDir() || path.Ext(f.Name()) != ".txt" {
			continue
		}
		if err := r.readFile(dir, f.Name()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// ReplayFrom reads what a Recorder has written to its Writer.
func ReplayFrom(from io.Reader, o ReplayOptions) (*Replayer, error) {
	r, err := newReplayer(o)
	if err != nil {
		return nil, err
	}
	return r, r.read("", from)
}

func newReplayer(o ReplayOptions) (*Replayer, error) {
	if !(o.Speed >= 0) { // not a number, too
		return nil, fmt.Errorf("breakwatertest: ReplayOptions.Speed is %v, want how many times faster", o.Speed)
	}
	o.Speed = cmp.Or(o.Speed, 1)
	o.Headers = slices.Clone(o.Headers)
	return &Replayer{options: o, byKey: make(map[string][]*record)}, nil
}

func (r *Replayer) readFile(dir fs.FS, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return fmt.Errorf("breakwatertest: opening a record: %w", err)
	}
	defer f.Close()
	return r.read(name, f)
}

func (r *Replayer) read(name string, from io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(from, maxRecord+1))
	if err != nil {
		return fmt.Errorf("breakwatertest: reading records: %w", err)
	}
	if len(text) > maxRecord {
		return &RecordError{name, 0, fmt.Sprintf("it is larger than %d MiB", maxRecord>>20)}
	}
	all, err := recording.Parse(text)
	if bad, ok := errors.AsType[*recording.SyntaxError](err); ok {
		return &RecordError{name, bad.Line, bad.Reason}
	}
	for _, x := range all {
		u, err := url.Parse(x.URL)
		if err != nil {
			return &RecordError{name, 0, "a record's URL is none"}
		}
		one := &record{name: name, number: len(r.records), x: x, asks: r.options.matchableOf(x.Method, u, x.Header, x.Body)}
		if name == "" || len(all) > 1 {
			one.name = strings.TrimSpace(fmt.Sprintf("%s #%d", name, len(r.records)+1))
		}
		one.asks.anyBody = x.Sent != recording.SentWhole
		r.records = append(r.records, one)
		k := one.asks.key().String()
		if one.asks.anyBody {
			k = one.asks.place()
		}
		r.byKey[k] = append(r.byKey[k], one)
	}
	return nil
}

// Unused returns the names of the records that no request has got yet.
func (r *Replayer) Unused() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, one := range r.records {
		if one.used == 0 {
			names = append(names, one.name)
		}
	}
	return names
}

// RoundTrip answers a request with its next record.
func (r *Replayer) RoundTrip(req *http.Request) (*http.Response, error) {
	start := time.Now()
	body, err := readRequest(req)
	if err != nil {
		return nil, err
	}
	if req.URL == nil {
		return nil, errors.New("breakwatertest: a request without a URL")
	}
	one, err := r.find(req, body)
	if err != nil {
		return nil, err
	}
	p := &playback{x: one.x, ctx: req.Context(), start: start, speed: r.options.Speed, closed: make(chan struct{})}
	p.cancel = req.Cancel //lint:ignore SA1019 a client may use it, with any transport
	return p.respond(req)
}

// find returns the record that answers a request.
func (r *Replayer) find(req *http.Request, body []byte) (*record, error) {
	clean := recording.NewRedactor(req, r.options.Redact)
	body, err := clean.Body("request", req.Header, body)
	if err != nil {
		return nil, fmt.Errorf("breakwatertest: a request cannot be compared: %w", err)
	}
	u, err := url.Parse(clean.URL(req.URL))
	if err != nil {
		return nil, errors.New("breakwatertest: a request with a URL that is none")
	}
	asks := r.options.matchableOf(cmp.Or(req.Method, http.MethodGet), u, req.Header, body)
	r.mu.Lock()
	defer r.mu.Unlock()
	fits := slices.Concat(r.byKey[asks.key().String()], r.byKey[asks.place()])
	slices.SortFunc(fits, func(a, b *record) int { // as they were recorded
		return cmp.Compare(a.number, b.number)
	})
	for _, one := range fits {
		if one.used == 0 {
			one.used++
			return one, nil
		}
	}
	if len(fits) == 0 || r.options.Once {
		e := asks.nearest(r.records)
		e.Used = len(fits) > 0
		if asks.op != request.None && !r.options.AnyHost {
			e.Path = u.Path
		}
		return nil, e
	}
	last := fits[len(fits)-1]
	last.used++
	return last, nil
}

// readRequest reads a request's body to its end and closes it. The request's cancel ends it.
func readRequest(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, context.Cause(req.Context())
	}
	closing := sync.OnceValue(req.Body.Close)
	stop := context.AfterFunc(req.Context(), func() { _ = closing() }) // so that a Read that waits ends
	defer stop()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	err = errors.Join(err, closing())
	switch {
	case req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	case err != nil:
		return nil, fmt.Errorf("breakwatertest: reading the request's body: %w", err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("breakwatertest: the request's body is larger than %d MiB", maxBody>>20)
	}
	return body, nil
}
