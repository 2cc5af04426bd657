package compat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A cacheTest is a test of npm's http-cache-tests: what a client sends, what the server
// answers, and what a cache between them is expected to do. testdata/http-cache-tests.json
// has those of version 0.4.5, written by this script in the package's folder:
//
//	import tests from './tests/index.mjs'
//	import surrogate from './tests/surrogate-control.mjs'
//	tests.push(surrogate)
//	console.log(JSON.stringify(tests))
//
// with the group's id in each test, and one test a line.
type cacheTest struct {
	Group, ID, Name, Kind string
	BrowserOnly           bool `json:"browser_only"`
	Requests              []cacheRequest
}

type cacheRequest struct {
	Method          string      `json:"request_method"`
	RequestBody     string      `json:"request_body"`
	RequestHeaders  [][]any     `json:"request_headers"`
	Filename        string      `json:"filename"`
	Query           string      `json:"query_arg"`
	Status          []any       `json:"response_status"`
	ResponseHeaders [][]any     `json:"response_headers"`
	Body            *string     `json:"response_body"`
	Disconnect      bool        `json:"disconnect"`
	Pause           bool        `json:"pause_after"`
	RFC850          []string    `json:"rfc850date"`
	Setup           bool        `json:"setup"`
	SetupTests      []string    `json:"setup_tests"`
	CheckBody       *bool       `json:"check_body"`
	Type            string      `json:"expected_type"`
	WantStatus      int         `json:"expected_status"`
	WantText        *string     `json:"expected_response_text"`
	WantHeaders     []cacheHead `json:"expected_response_headers"`
	WantNoHeaders   []cacheHead `json:"expected_response_headers_missing"`
	WantSent        []cacheHead `json:"expected_request_headers"`
}

// A cacheHead is what a test says of a header: its name, or the name and a value, or the
// name, "=" or ">", and what it is compared with.
type cacheHead []any

func (h *cacheHead) UnmarshalJSON(text []byte) error {
	var name string
	if json.Unmarshal(text, &name) == nil {
		*h = cacheHead{name}
		return nil
	}
	var all []any
	err := json.Unmarshal(text, &all)
	*h = all
	return err
}

// doesNotApply returns in one word why a test says nothing about answers of inference, or
// "". They are answers to a POST with the status 200, which have no validators and no
// ranges. Surrogates are CDNs, which breakwater is not.
func (t *cacheTest) doesNotApply() string {
	switch {
	case t.BrowserOnly:
		return "browser"
	case t.Group == "surrogate-control":
		return "surrogate"
	case strings.HasPrefix(t.Group, "conditional"), strings.HasPrefix(t.Group, "update"):
		return "validation"
	case t.Group == "partial":
		return "range"
	case t.Group == "invalidation", t.Group == "method":
		return "method"
	}
	for i, r := range t.Requests {
		switch {
		case r.Method != "" && r.Method != http.MethodGet:
			return "method"
		case i == 0 && len(r.Status) > 0 && r.Status[0] != 200.0:
			return "status"
		case strings.HasSuffix(r.Type, "validated"):
			return "validation"
		}
		for _, h := range r.RequestHeaders {
			if name := strings.ToLower(h[0].(string)); strings.HasPrefix(name, "if-") {
				return "validation"
			}
		}
	}
	return ""
}

// deviations are why breakwater's cache does otherwise than a test expects, and the tests:
//
//   - policy: an answer that does not say how long it is fresh is so for CachePolicy.TTL
//   - habit: hosts send no-cache, max-age=0 and an Expires that is no date with every answer,
//     and SDKs send no-cache with every stream
//   - rfc9111: it is younger than the tests; what is no Age is ignored, and of several values
//     of Age and max-age the first one counts
//   - clock: a Date that is long ago shows a clock that is wrong as well as an old answer
//   - private: a scope of one credential is a private cache, for which private, s-maxage and
//     proxy-revalidate do not count
//   - scope: the application has said who shares answers; they see what describes the answer
//   - key: all headers that are not known to be indifferent are in the key, as they are
//   - obsolete: RFC 9111 has no Warning any more
//   - transfer: the response tells its length in ContentLength
var deviations = map[string]string{
	"policy": "freshness-none freshness-max-age-space-before-equals freshness-max-age-space-after-equals",
	"habit": "freshness-max-age-0 freshness-max-age-0-expires freshness-max-age-negative freshness-max-age-single-quoted " +
		"freshness-expires-past freshness-expires-present freshness-expires-old-date freshness-expires-invalid status-200-stale ccreq-no-cache",
	"rfc9111": "age-parse-nonnumeric age-parse-negative age-parse-float age-parse-prefix-twoline age-parse-dup-0 age-parse-dup-0-twoline age-parse-dup-old freshness-max-age-two-stale-fresh-sameline freshness-max-age-two-stale-fresh-sepline age-parse-parameter age-parse-numeric-parameter",
	"clock":   "freshness-max-age-date",
	"private": "stale-close-proxy-revalidate stale-close-s-maxage=2 cc-resp-private-shared freshness-max-age-s-maxage-shared-longer freshness-max-age-s-maxage-shared-longer-reversed " +
		"freshness-max-age-s-maxage-shared-longer-multiple freshness-max-age-s-maxage-shared-shorter",
	"scope": "other-authorization other-authorization-public other-authorization-must-revalidate other-authorization-smaxage headers-omit-headers-listed-in-Cache-Control-no-cache-single headers-omit-headers-listed-in-Cache-Control-no-cache headers-omit-headers-listed-in-Connection " +
		"headers-store-Test-Header headers-store-X-Test-Header headers-store-Content-Foo headers-store-X-Content-Foo headers-store-Content-Location headers-store-Content-MD5 headers-store-Content-Range " +
		"headers-store-Content-Security-Policy headers-store-Clear-Site-Data headers-store-ETag headers-store-Public-Key-Pins headers-store-Set-Cookie headers-store-Set-Cookie2 headers-store-X-Frame-Options headers-store-X-XSS-Protection",
	"key":      "vary-cache-key vary-normalise-combine vary-normalise-lang-order vary-normalise-lang-case vary-normalise-lang-space vary-normalise-lang-select vary-normalise-space other-cookie",
	"obsolete": "stale-warning-stored stale-warning-become",
	"transfer": "headers-store-Content-Length",
}

// deviation returns the reason in deviations, or "".
func (t *cacheTest) deviation() string {
	for why, ids := range deviations {
		if slices.Contains(strings.Fields(ids), t.ID) {
			return why
		}
	}
	return ""
}

// A cacheServer is the suite's server behind a chat completion: the body is the text of the
// answer.
type cacheServer struct {
	requests []cacheRequest
	stream   bool
	sent     []sentRequest
}

// A sentRequest is what the server saw, and the headers that it answered with.
type sentRequest struct {
	number int
	at     time.Time
	header http.Header
	answer [][2]string
}

type requestNumber struct{}

const cacheBody = "the body"

func (s *cacheServer) RoundTrip(req *http.Request) (*http.Response, error) {
	number, _ := req.Context().Value(requestNumber{}).(int)
	r := s.requests[number-1]
	resp := &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req}
	if len(r.Status) > 0 {
		resp.StatusCode = int(r.Status[0].(float64))
	}
	sent := sentRequest{number: number, at: time.Now(), header: req.Header.Clone()}
	for _, h := range r.ResponseHeaders {
		name, value := h[0].(string), r.value(h, sent.at)
		resp.Header.Add(name, value)
		if len(h) < 3 || h[2] == true {
			sent.answer = append(sent.answer, [2]string{name, value})
		}
	}
	s.sent = append(s.sent, sent)
	if r.Disconnect {
		return nil, errors.New("the server has closed the connection")
	}
	content := cacheBody
	if r.Body != nil {
		content = *r.Body
	}
	text, _ := json.Marshal(content)
	body, kind := fmt.Sprintf(`{"id":"%d","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":{"total_tokens":2}}`, len(s.sent), text), "application/json"
	switch {
	case resp.StatusCode != 200:
		body = `{"error":{"message":"the suite's server says so"}}`
	case s.stream:
		body, kind = fmt.Sprintf("data: {\"id\":\"%d\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%s},\"finish_reason\":null}]}\n\ndata: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", len(s.sent), text), "text/event-stream"
	}
	if resp.Header.Get("Content-Type") == "" {
		resp.Header.Set("Content-Type", kind)
	}
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return resp, nil
}

// value returns the value of a header of an answer that was made then: a number is a time
// from then where the header has a date.
func (r *cacheRequest) value(h []any, then time.Time) string {
	name := strings.ToLower(h[0].(string))
	n, ok := h[1].(float64)
	if !ok {
		return fmt.Sprint(h[1])
	}
	if !slices.Contains([]string{"date", "expires", "last-modified"}, name) {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	at := then.UTC().Add(time.Duration(n) * time.Second)
	if slices.Contains(r.RFC850, name) {
		return at.Format("Monday, 02-Jan-06 15:04:05 GMT")
	}
	return at.Format(http.TimeFormat)
}

// A got is what the client saw of one request.
type got struct {
	status int
	header http.Header
	text   string
	server int       // which request of the server's the answer is of
	at     time.Time // when that was
}

// ask sends request number i of a test as a chat completion.
func (s *cacheServer) ask(ctx context.Context, rt http.RoundTripper, i int) (got, error) {
	r := s.requests[i]
	body := fmt.Sprintf(`{"model":"m","stream":%t,"messages":[{"role":"user","content":%q}]}`, s.stream, r.Filename+r.RequestBody)
	url := "https://host/v1/chat/completions"
	if r.Query != "" {
		url += "?" + r.Query
	}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, requestNumber{}, i+1), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return got{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.RequestHeaders == nil { // as the suite's client
		req.Header.Set("Pragma", "foo")
		req.Header.Set("Cache-Control", "nothing-to-see-here")
	}
	for _, h := range r.RequestHeaders {
		req.Header.Add(h[0].(string), fmt.Sprint(h[1]))
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return got{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	g := got{status: resp.StatusCode, header: resp.Header}
	first, _, _ := bytes.Cut(bytes.TrimPrefix(text, []byte("data: ")), []byte("\n"))
	var answer struct {
		ID      string
		Choices []struct{ Message, Delta struct{ Content string } }
	}
	if json.Unmarshal(first, &answer) == nil && len(answer.Choices) > 0 {
		g.text = cmp.Or(answer.Choices[0].Message.Content, answer.Choices[0].Delta.Content)
		if g.server, _ = strconv.Atoi(answer.ID); g.server > 0 && g.server <= len(s.sent) {
			g.at = s.sent[g.server-1].at
		}
	}
	return g, err
}

// run plays a test, and returns what the cache did otherwise than expected, or "".
func (t *cacheTest) run(ctx context.Context, policy breakwater.CachePolicy, stream bool) string {
	server := &cacheServer{requests: t.Requests, stream: stream}
	rt, err := breakwater.New(breakwater.WithBase(server), breakwater.WithCache(policy), breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: "https://host/v1"}))
	if err != nil {
		return err.Error()
	}
	defer rt.Close()
	var all []got
	for i, r := range t.Requests {
		g, err := server.ask(ctx, rt, i)
		if err != nil {
			return fmt.Sprintf("request %d: %v", i+1, err)
		}
		all = append(all, g)
		if wrong := r.wrong(i+1, g); wrong != "" {
			return wrong
		}
		synctest.Wait()
		if r.Pause {
			time.Sleep(3 * time.Second)
		}
	}
	return server.wrong(all)
}

// wrong compares what the client saw, as checkResponse of the suite does.
func (r *cacheRequest) wrong(number int, g got) string {
	switch {
	case r.Type == "cached" && !(g.server > 0 && g.server < number):
		return fmt.Sprintf("response %d does not come from the cache", number)
	case r.Type == "not_cached" && g.server != number && g.status == 200:
		return fmt.Sprintf("response %d comes from the cache", number)
	}
	if r.Disconnect && r.Type == "not_cached" && g.status >= 500 {
		return "" // the suite's own proxies answer so, too
	}
	want := 200
	if len(r.Status) > 0 {
		want = int(r.Status[0].(float64))
	}
	if r.WantStatus > 0 {
		want = r.WantStatus
	}
	if g.status != want {
		return fmt.Sprintf("response %d has the status %d, not %d", number, g.status, want)
	}
	for _, h := range r.WantHeaders {
		if wrong := r.differs(g, h); wrong != "" {
			return fmt.Sprintf("response %d: %s", number, wrong)
		}
	}
	for _, h := range r.WantNoHeaders {
		if value, has := g.header[http.CanonicalHeaderKey(h[0].(string))]; has && (len(h) == 1 || strings.Contains(strings.Join(value, ", "), fmt.Sprint(h[1]))) {
			return fmt.Sprintf("response %d has %s: %s", number, h[0], strings.Join(value, ", "))
		}
	}
	text := cacheBody
	switch {
	case r.CheckBody != nil && !*r.CheckBody, g.status != 200:
		return ""
	case r.WantText != nil:
		text = *r.WantText
	case r.Body != nil:
		text = *r.Body
	}
	if g.text != text {
		return fmt.Sprintf("response %d says %q, not %q", number, g.text, text)
	}
	return ""
}

// differs returns how a header is otherwise than a test expects, or "".
func (r *cacheRequest) differs(g got, want cacheHead) string {
	name := want[0].(string)
	value := strings.Join(g.header.Values(name), ", ")
	switch {
	case len(g.header.Values(name)) == 0:
		return name + " is missing"
	case len(want) == 1:
		return ""
	case len(want) == 2:
		if expected := r.value(want, g.at); value != expected {
			return fmt.Sprintf("%s is %q, not %q", name, value, expected)
		}
	case want[1] == "=":
		if expected := strings.Join(g.header.Values(fmt.Sprint(want[2])), ", "); value != expected {
			return fmt.Sprintf("%s is %q, not %q", name, value, expected)
		}
	case want[1] == ">":
		if n, err := strconv.Atoi(value); err != nil || float64(n) <= want[2].(float64) {
			return fmt.Sprintf("%s is %q, not more than %v", name, value, want[2])
		}
	}
	return ""
}

// wrong compares what the server saw and answered, as checkServerRequests of the suite does.
func (s *cacheServer) wrong(all []got) string {
	at := 0
	for i, r := range s.requests {
		if r.Type == "cached" {
			continue
		}
		if at >= len(s.sent) {
			if r.Type == "not_cached" {
				return fmt.Sprintf("request %d was not sent", i+1)
			}
			return ""
		}
		sent := s.sent[at]
		at++
		if r.Type == "not_cached" && sent.number != i+1 {
			return fmt.Sprintf("request %d was not sent", i+1)
		}
		for _, h := range r.WantSent {
			name := h[0].(string)
			if _, has := sent.header[http.CanonicalHeaderKey(name)]; !has || len(h) > 1 && sent.header.Get(name) != fmt.Sprint(h[1]) {
				return fmt.Sprintf("request %d was sent with %s %q", i+1, name, sent.header.Get(name))
			}
		}
		if all[i].server != at { // from the cache: the test says what it expects there
			continue
		}
		for _, h := range sent.answer {
			joined := strings.Join(valuesOf(sent.answer, h[0]), ", ")
			if received := strings.Join(all[i].header.Values(h[0]), ", "); !strings.EqualFold(h[0], "Date") && received != joined {
				return fmt.Sprintf("response %d has %s %q, not %q", i+1, h[0], received, joined)
			}
		}
	}
	return ""
}

func valuesOf(list [][2]string, name string) (values []string) {
	for _, h := range list {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return values
}

// TestHTTPCacheTests plays the suite through breakwater's cache, in virtual time: once as a
// private cache, which a scope of one credential is, and once as a shared one, with chat
// completions in JSON and as streams. The results are those of testdata/http-cache-tests.txt
// and docs/rfc9111.md, which UPDATE_TABLE=1 writes anew.
func TestHTTPCacheTests(t *testing.T) {
	var tests []cacheTest
	if err := json.Unmarshal([]byte(read(t, "testdata/http-cache-tests.json")), &tests); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, test := range tests {
		result := test.doesNotApply()
		if result != "" {
			fmt.Fprintf(&table, "%s\t%s\t%s\tdoes not apply: %s\n", test.Group, test.ID, cmp.Or(test.Kind, "required"), result)
			continue // see doesNotApply
		}
		var results []string
		for _, scope := range []func(*http.Request) string{nil, func(*http.Request) string { return "all" }} {
			for _, stream := range []bool{false, true} {
				t.Run(test.ID, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						result := cmp.Or(test.run(t.Context(), breakwater.CachePolicy{TTL: 24 * time.Hour, Scope: scope}, stream), "as expected")
						name := map[bool]string{false: "private", true: "shared"}[scope != nil] + map[bool]string{false: "", true: " stream"}[stream]
						results = append(results, name+": "+result)
					})
				})
			}
		}
		result = summary(results)
		why := test.deviation()
		switch {
		case (result == "as expected") != (why == ""):
			t.Errorf("%s: %s; the reason is %q", test.ID, result, why)
		case why != "":
			result = why + ": " + result
		}
		fmt.Fprintf(&table, "%s\t%s\t%s\t%s\n", test.Group, test.ID, cmp.Or(test.Kind, "required"), result)
	}
	says(t, "testdata/http-cache-tests.txt", table.String())
	const page = "../docs/rfc9111.md"
	before, rest, _ := strings.Cut(read(t, page), groupsHead)
	_, after, ok := strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatalf("%s has no table with the head\n%s", page, groupsHead)
	}
	says(t, page, before+groupsHead+groups(table.String())+"\n"+after)
}

const groupsHead = "| group | tests | do not apply | as expected | otherwise |\n|---|---|---|---|---|\n"

// groups returns the rows of docs/rfc9111.md: how many results of each kind a group has.
func groups(table string) string {
	type group struct {
		tests, expected int
		apart, other    map[string]int
	}
	all := map[string]*group{}
	var order []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		g := all[cells[0]]
		if g == nil {
			g = &group{apart: map[string]int{}, other: map[string]int{}}
			all[cells[0]], order = g, append(order, cells[0])
		}
		g.tests++
		why, rest, _ := strings.Cut(cells[3], ": ")
		switch why {
		case "as expected":
			g.expected++
		case "does not apply":
			g.apart[rest]++
		default:
			g.other[why]++
		}
	}
	var rows strings.Builder
	for _, name := range order {
		g := all[name]
		fmt.Fprintf(&rows, "| %s | %d | %s | %d | %s |\n", name, g.tests, counts(g.apart), g.expected, counts(g.other))
	}
	return rows.String()
}

// counts returns what is counted, in words.
func counts(of map[string]int) string {
	var list []string
	for _, why := range slices.Sorted(maps.Keys(of)) {
		list = append(list, fmt.Sprintf("%d %s", of[why], why))
	}
	return strings.Join(list, ", ")
}

// says checks that a file has this text, or writes it if UPDATE_TABLE is set.
func says(t *testing.T, path, text string) {
	t.Helper()
	if os.Getenv("UPDATE_TABLE") != "" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wants := strings.Split(read(t, path), "\n")
	for i, line := range strings.Split(text, "\n") {
		if i >= len(wants) || wants[i] != line {
			t.Errorf("%s, line %d: it is\n%s", path, i+1, line)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// summary merges equal results.
func summary(results []string) string {
	_, first, _ := strings.Cut(results[0], ": ")
	if !slices.ContainsFunc(results, func(r string) bool { return !strings.HasSuffix(r, ": "+first) }) {
		return first
	}
	return strings.Join(results, "; ")
}
