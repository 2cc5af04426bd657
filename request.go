package breakwater

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// An operation is an inference operation by its path behind the base URL.
// Only these are judged, cached and failed over.
type operation string

const (
	opChat        operation = "/chat/completions"
	opCompletions operation = "/completions" // fill in the middle
	opResponses   operation = "/responses"
	opMessages    operation = "/messages" // Anthropic's
	opEmbeddings  operation = "/embeddings"
)

// operationOf tells the operation a request asks for.
func operationOf(req *http.Request) (operation, bool) {
	if req.Method != http.MethodPost || req.URL == nil {
		return "", false
	}
	path := req.URL.Path
	for _, op := range [...]operation{opChat, opCompletions, opResponses, opEmbeddings} {
		if strings.HasSuffix(path, string(op)) {
			return op, true
		}
	}
	// Others have paths that end in /messages, too: OpenAI's threads have.
	return opMessages, strings.HasSuffix(path, "/v1"+string(opMessages))
}

// wire returns the format of the operation's answers.
func (op operation) wire() wire.Wire {
	switch op {
	case opResponses:
		return wire.Responses
	case opMessages:
		return wire.Messages
	case opEmbeddings:
		return wire.Embeddings
	}
	return wire.Chat
}

// Call overrides, for one call, what the Transport is set to. Put it into the
// request's context with [WithCall].
type Call struct {
	NoCache      bool   // neither take the answer from the cache nor keep it
	NoShare      bool   // do not share an attempt with another call for the same
	CacheControl string // directives for the cache beside those of the request's Cache-Control, and before them: "max-age=60"
	Scope        string // who may share the answer, instead of CachePolicy.Scope
	Endpoint     string // the one endpoint to use, by name; no failover to others
	Attempts     int    // tries per account, instead of RetryPolicy.Attempts; 0: as there
	Trail        *Trail // filled with the call's attempts, for those who never see the response
}

type callOptionsKey struct{}

// WithCall returns a context whose calls follow c.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callOptionsKey{}, c)
}

// look is what the one look into a request's body found.
type look struct {
	model        string
	modelAt      span // the JSON value
	thinking     bool // the call asks the model to think
	thinkingIn   thinkingField
	thinkingAt   span // the whole member, if there is just one such
	saysThinking uint // the fields of that kind that are there at all, null ones too: as bits
	userField    string
	userAt       span // the key
	stream       bool
	extraUsage   bool // the stream is to say what it took, in an event of its own
	temperature  float64
	maxTokens    int
	choices      int

	messagesEnd int  // where the list of messages ends: its bracket; 0: there is none
	maxTokensAt span // the JSON value

	logprobs       bool
	hasTemperature bool
	stateful       bool // it goes on from what one host keeps
	prefix         bool // its last message is the beginning of the answer
}

// A span is a part of a body.
type span struct{ from, to int }

// names keeps model names, so that those of calls need not be copied out of
// their bodies each time: a bounded number, since they come from callers.
type names struct {
	mu  sync.RWMutex // guards all
	all map[string]string
}

const (
	maxNames = 1024
	maxName  = 256 // bytes
)

func (n *names) intern(name string) string {
	n.mu.RLock()
	known, ok := n.all[name]
	n.mu.RUnlock()
	if ok {
		return known
	}
	name = strings.Clone(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = make(map[string]string)
	}
	if len(n.all) < maxNames {
		n.all[name] = name
	}
	return name
}

// lookInto reads the fields breakwater needs in one pass. The model's name is
// part of the body, not a copy. A body that is no JSON object yields nothing:
// the host will say what is wrong with it.
func lookInto(body []byte) look {
	l := look{choices: 1}
	text := gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body)))
	if !text.IsObject() {
		return l
	}
	modes, n, prompts := 0, 1.0, 1
	think := func(in thinkingField, on bool, key, value gjson.Result) {
		modes++
		l.thinking = l.thinking || on
		l.thinkingIn, l.thinkingAt = in, span{key.Index, value.Index + len(value.Raw)}
	}
	text.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "model":
			// No model has a name like a book: such a one is passed on, not kept.
			if value.Type == gjson.String && closed(value.Raw) && len(value.Str) <= maxName {
				l.model = value.Str
				l.modelAt = span{value.Index, value.Index + len(value.Raw)}
			}
		case "stream":
			l.stream = value.Type == gjson.True
		case "stream_options":
			l.extraUsage = value.Get("include_usage").Type == gjson.True
		case "thinking":
			l.saysThinking |= 1 << thinkingObject
			if kind := value.Get("type").Str; kind != "" {
				think(thinkingObject, kind != "disabled", key, value)
			}
		case "enable_thinking":
			l.saysThinking |= 1 << enableThinking
			if value.IsBool() {
				think(enableThinking, value.Type == gjson.True, key, value)
			}
		case "reasoning":
			l.saysThinking |= 1 << reasoningObject
			if enabled := value.Get("enabled"); enabled.IsBool() {
				think(reasoningObject, enabled.Type == gjson.True, key, value)
			}
		case "user", "user_id":
			if l.userField != "" {
				l.userAt = span{} // both: none is renamed
				break
			}
			l.userField, l.userAt = "user", span{key.Index, key.Index + len(key.Raw)} // no part of the body: it is kept for long
			if key.Str == "user_id" {
				l.userField = "user_id"
			}
		case "temperature":
			l.temperature, l.hasTemperature = value.Num, value.Type == gjson.Number
		case "max_tokens", "max_completion_tokens", "max_output_tokens":
			l.maxTokens = int(min(max(value.Num, 0), 1<<31))
			l.maxTokensAt = span{value.Index, value.Index + len(value.Raw)}
		case "messages":
			if raw := value.Raw; len(raw) > 2 && value.IsArray() && raw[len(raw)-1] == ']' && raw[len(raw)-2] == '}' {
				l.messagesEnd = value.Index + len(raw) - 1
			}
		case "logprobs":
			l.logprobs = value.Type == gjson.True
		case "n":
			n = min(max(value.Float(), 1), 128) // hosts take "2" for 2
		case "prompt":
			prompts = promptsIn(value)
		case "previous_response_id", "conversation":
			l.stateful = l.stateful || value.Type != gjson.Null
		case "background":
			l.stateful = l.stateful || value.Type == gjson.True
		}
		return true
	})
	if modes > 1 {
		l.thinkingAt = span{}
	}
	l.choices = int(min(n*float64(prompts), 128))
	return l
}

// promptsIn counts the prompts of a FIM completion, each of which has choices
// of its own, or the inputs of embeddings, each of which has a vector: a text or a list of tokens is one, a list of those is many.
func promptsIn(value gjson.Result) int {
	n := 0
	if value.IsArray() {
		value.ForEach(func(_, prompt gjson.Result) bool {
			if prompt.Type == gjson.String || prompt.IsArray() {
				n++
			}
			return true
		})
	}
	return max(n, 1)
}

// beginsAnswer reports whether the last message of a chat is the beginning of
// the answer, for the host to go on from. API:
// https://api-docs.deepseek.com/guides/chat_prefix_completion.
func beginsAnswer(body []byte) bool {
	text := gjson.GetBytes(body, "messages")
	prefix := false
	text.ForEach(func(_, message gjson.Result) bool {
		prefix = message.Get("prefix").Type == gjson.True
		return true
	})
	return prefix
}

// closed reports whether a JSON string literal has its closing quote, which a
// cut body's last one has not.
func closed(raw string) bool { return len(raw) >= 2 && raw[len(raw)-1] == '"' }

// An edit puts text in the place of a span.
type edit struct {
	at   span
	text string
}

// bodyFor returns the call's body as e has to get it: the model by its name
// there, and, where e's host has other fields for them than the caller's, the
// mode of thinking and the caller's user. Every other byte stays as it was:
// the host's prefix cache depends on it.
func (c *call) bodyFor(e *endpoint, model string) []byte {
	var room [4]edit
	l, edits := &c.look, room[:0]
	renamed := l.modelAt.to != 0 && model != l.model
	if renamed {
		edits = append(edits, edit{l.modelAt, string(gjson.AppendJSONString(nil, model))})
	}
	if think, old := retired[l.model]; old && renamed && l.thinkingIn == thinkingUnknown && !e.row.thinks(model) {
		// Today's models of that name think by themselves; those of old did as they were called.
		field := e.row.thinking
		switch c.op {
		case opMessages:
			field = thinkingObject
			if think { // Anthropic's field wants a budget with that
				field = thinkingUnknown
			}
		case opChat:
		default:
			field = thinkingUnknown
		}
		if field != thinkingUnknown && l.saysThinking&(1<<field) == 0 {
			after := span{l.modelAt.to, l.modelAt.to}
			edits = append(edits, edit{after, `,"` + field.name() + `":` + field.value(think)})
		}
	}
	if c.op == opChat && e.row != c.meant.row {
		if to := e.row.thinking; l.thinkingAt.to != 0 && to != thinkingUnknown && l.saysThinking&(1<<to) == 0 {
			edits = append(edits, edit{l.thinkingAt, `"` + to.name() + `":` + to.value(l.thinking)})
		}
		if to := e.row.userField(); l.userAt.to != 0 && l.userField == c.meant.row.userField() && to != l.userField {
			edits = append(edits, edit{l.userAt, `"` + to + `"`})
		}
	}
	return withEdits(c.body, edits)
}

// withEdits returns body with the edits made, body itself if there are none.
func withEdits(body []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return body
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at.from - b.at.from })
	size := len(body)
	for _, e := range edits {
		size += len(e.text)
	}
	spliced, done := make([]byte, 0, size), 0
	for _, e := range edits {
		spliced = append(append(spliced, body[done:e.at.from]...), e.text...)
		done = e.at.to
	}
	return append(spliced, body[done:]...)
}

// A call is what the caller asked for, once. It is the context of all that is
// done for it, so that every layer can find it, and the caller's responses can.
type call struct {
	context.Context // the caller's
	Call

	t          *Transport
	req        *http.Request // the caller's, its context being this call
	op         operation
	meant      *endpoint   // whose API the caller asked
	candidates []*endpoint // that could serve it, best tier first
	look       look
	body       []byte        // whole; nil where it is streamed
	streamed   io.ReadCloser // too large to be kept: sent once
	packed     bool          // the body has a coding: nobody can look into it
	credential credential
	start      time.Time
	sought     sought
	nested     bool // made from within another call: by an Observer, say
	spare      bool // an answer is kept that would do instead of a failure
	exhausted  bool // no endpoint could answer: what comes is a failure of the fleet, not an answer
	unprobed   bool // nor did it see to the end whether all are still down
	prefixed   bool // prefixKey is known
	prefixKey  uint64

	parent *call      // whose broken stream this call goes on from; nil: none's
	rescue rescueKind // how
	avoid  string     // the account where it broke, if there is another

	mu       sync.Mutex // guards what follows
	visits   []*visit
	unsuited []option  // whose limits the call exceeds
	racing   [2]string // accounts asked at the same time: see StreamPolicy.Hedge
	failure  *Error    // behind an answer that breakwater wrote itself

	book   *book // its trail: its own, or that of the call it is made for
	own    book
	single [1]*endpoint
}

type callKey struct{}

// Value finds the call itself under its key.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// newCall reads the request's body, whole if it may be kept, and looks into it.
func (t *Transport) newCall(req *http.Request, op operation, meant *endpoint) (*call, error) {
	c := &call{Context: req.Context(), t: t, op: op, meant: meant, start: time.Now(), credential: credentialOf(req)}
	c.book = &c.own
	c.candidates = t.candidates(c.single[:0], meant)
	c.Call, _ = req.Context().Value(callOptionsKey{}).(Call)
	c.Call.Trail.follow(c)
	c.nested = callOf(req.Context()) != nil
	c.req = req.WithContext(c)
	if err := c.readBody(req, t.config.retry.MaxReplay); err != nil {
		return nil, err
	}
	c.packed = len(req.Header["Content-Encoding"]) > 0
	if t.cache.recall(c) {
		return c, nil
	}
	c.look = lookInto(c.body)
	c.look.model = t.names.intern(c.look.model)
	if meant.row.prefix != "" && strings.HasPrefix(req.URL.Path, meant.row.prefix+"/") {
		c.look.prefix = beginsAnswer(c.body)
	}
	return c, nil
}

// isInference reports whether the call is one for sure. Its path says so where
// the endpoint was given or its host is known; elsewhere, paths like these may
// belong to anybody, and the body has to name a model.
func (c *call) isInference() bool {
	return c.op == opChat || len(c.t.tiers) > 0 || c.meant.row.host != HostOpenAI || c.look.model != ""
}

// restored is the caller's request with its body back.
func (c *call) restored(req *http.Request) *http.Request {
	req = req.WithContext(req.Context())
	switch {
	case c.streamed != nil:
		req.Body = c.streamed
	case c.body != nil:
		req.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	return req
}

// readBody takes the body over from the caller's request, and closes it
// unless it is streamed on.
func (c *call) readBody(req *http.Request, limit int64) error {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	if req.ContentLength > limit {
		c.streamed = &closedOnce{Reader: req.Body, closer: req.Body}
		return nil
	}
	var room []byte
	if c.t.cache != nil {
		room = roomFor(req.ContentLength)
	}
	body, err := readUpTo(req.Body, req.ContentLength, limit, room)
	switch {
	case err == nil:
		c.body = body
		return req.Body.Close()
	case err == errTooLarge:
		c.streamed = &closedOnce{Reader: io.MultiReader(bytes.NewReader(body), req.Body), closer: req.Body}
		return nil
	}
	return errors.Join(err, req.Body.Close())
}

// rooms are bodies of calls that the cache answered: nobody needs those any more.
var rooms sync.Pool

const maxRoom = 256 << 10 // of those kept

// roomFor takes one of about that size, if there is one.
func roomFor(size int64) []byte {
	room, _ := rooms.Get().(*[]byte)
	if room == nil {
		return nil
	}
	if int64(cap(*room)) > 4*max(size, 1<<10) { // too good for it: who knows how long the call takes
		rooms.Put(room)
		return nil
	}
	return *room
}

// answered gives the room of the call's body to another call: nothing may
// look into it from now on.
func (c *call) answered() {
	if cap(c.body) <= maxRoom {
		room := c.body[:0]
		rooms.Put(&room)
	}
	c.body = nil
}

var errTooLarge = errors.New("larger than the limit")

// readUpTo reads r to its end, into room if there is enough. Where the end is
// beyond limit it returns what it has read and errTooLarge. size is what r is
// said to hold, negative if unknown.
func readUpTo(r io.Reader, size, limit int64, room []byte) ([]byte, error) {
	if size++; size <= 0 { // one byte more, so that its end is seen
		size = bytes.MinRead
	}
	body := room[:0]
	if size = min(size, 1<<20); int64(cap(room)) < size {
		body = make([]byte, 0, size)
	}
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return body, errTooLarge
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		case len(body) == cap(body):
			body = append(body, 0)[:len(body)]
		}
	}
}

// A closedOnce is a caller's body as it is streamed on: the base closes it, and
// the end of the attempt in case the base did not.
type closedOnce struct {
	io.Reader
	closer io.Closer
	once   sync.Once
	err    error
}

func (b *closedOnce) Close() error {
	b.once.Do(func() { b.err = b.closer.Close() })
	return b.err
}

// A credential stands for the caller's own, without being it.
type credential [sha256.Size]byte

// credentialHeaders are the headers that say who a caller is.
var credentialHeaders = []string{"Authorization", "X-Api-Key", "Api-Key"}

// isCredential reports whether a header says who a caller is, however it is
// spelt: a header map may hold names that are not canonical.
func isCredential(name string) bool {
	return slices.ContainsFunc(credentialHeaders, func(c string) bool { return len(c) == len(name) && strings.EqualFold(c, name) })
}

func credentialOf(req *http.Request) credential {
	var sum [512]byte
	text := sum[:0]
	add := func(name string, values []string) {
		for _, v := range values {
			text = append(append(append(text, name...), 0), v...)
			text = append(text, 0)
		}
	}
	for _, name := range credentialHeaders {
		add(name, req.Header[name])
	}
	for name, values := range req.Header {
		if isCredential(name) && !slices.Contains(credentialHeaders, name) {
			add(strings.ToLower(name), values)
		}
	}
	return sha256.Sum256(text)
}

// choices is how many the answer is to have.
func (c *call) choices() int {
	if c.streamed != nil || c.packed {
		return wire.Unknown
	}
	return c.look.choices
}

// thinking reports whether e is expected to think before it answers.
func (c *call) thinking(e *endpoint) bool {
	model, _ := e.serves(c)
	return c.look.thinking || e.row.thinks(c.look.model) || e.row.thinks(model)
}
