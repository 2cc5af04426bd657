package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// seed gives a fuzz target what is odd of JSON and what is odd of the wires.
func seed(f *testing.F) {
	for _, text := range []string{
		"", " ", "{}", " {\t\"\\u0061\" : 1 } \r\n", "[1]", `{"a":1,}`, `{"a":1 "b":2}`, `{,}`, `{"a"}`, `[1,]`, `[,1]`, `[1 2]`, `{"a":[}`, "{} {}", "{}\x00", "\x00", "\ufeff{}",
		`{"n":[0,-0,0.5,-1.25e+7,1E-9,1e5]}`, `[01]`, `[-]`, `[1.]`, `[.5]`, `[1e]`, `[1e+]`, `[+1]`, `[0x1]`, `[1-]`, `[NaN]`, `[nul]`, `[nulll]`, `[true,false,null]`, `[tru`, `[-01]`, `[1.5.5]`,
		`{"s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800"}`, `["\x"]`, `["\u12g4"]`, `["\u12`, `["\`, "[\"\n\"]", "[\"\x1f1234567\"]", "[\"12345678\x7f\x80\xff\"]", `["`, `["12345678`, `["1234567"`, `["12345678"]`, `["1234567\"9"]`,
		strings.Repeat("[", 40) + strings.Repeat("]", 40), strings.Repeat(`{"a":`, 30) + "0" + strings.Repeat("}", 30),
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":null}],"usage":null}`,
		`{"choices":[{"index":1.7,"delta":{"tool_calls":[ {"index":0}]},"finish_reason":"length"},null,7,[],{"index":-3,"text":"a","finish_reason":"\u0073top"}]}`,
		`{"choices":[{"index":9999999999999,"message":{"content":"a\\"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1e999,"completion_tokens":2147483649,"total_tokens":1.9}}`,
		`{"choices":[{"finish_reason":"insufficient_system_resource"},{"finish_reason":"error"},{"error":{"code":502}}]}`,
		`{"choices":[{"index":"1","delta":{"content":"a"}},{"index":" 1"},{"index":"2x","finish_reason":"stop"}]}`, `{"choices":[{"index":"0"},{"index":"1e999","delta":{"content":"a"}}]}`,
		`{"choices":[{"finish_reason":"stop","finish_reason":null,"index":2,"index":0,"delta":{"a":[],"b":{ },"type":"x","role":"y","c":[[]]}}],"choices":{}}`,
		`{"\u0063hoices":[{"delt\u0061":{"content":"\n"}}],"error":false,"error":null}`,
		`{"code":1,"code":2,"message":"m","error":"e"}`, `{"code":50603,"message":"busy","data":null}`, `{"code":null,"message":"m"}`,
		`{"choices":[],"usage":{"prompt_tokens":5,"prompt_cache_hit_tokens":2,"prompt_tokens_details":{"cached_tokens":3,"cached_tokens":9},"completion_tokens_details":{"reasoning_tokens":1},"completion_tokens_details":[],"total_tokens":"7"},"usage":{"input_tokens":1}}`,
		`{"type":"response.output_text.delta","delta":"a","error":null}`, `{"type":"response.created","response":{"status":"in_progress"}}`, `{"type":"response.queued"}`, `{"type":"response.function_call_arguments.done","arguments":"{}","delta":""}`,
		`{"type":"response.completed","response":{"status":"completed","error":null,"output":[],"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":12}}}`,
		`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":[],"incomplete_details":{"reason":"insufficient_system_resource"}}}`, `{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}`,
		`{"type":"response.failed","response":{"error":{"code":"server_error"}}}`, `{"type":"response.cancelled","response":[]}`, `{"type":"error"}`, `{"status":"queued","output":[]}`, `{"status":"failed"}`, `{"output":{},"code":1,"message":2}`,
		`{"type":"response.output_item.done","item":{"content":[{"type":"output_text","text":"a"}],"arguments":""}}`, `{"type":"response.output_item.done","item":{"content":[ ],"content":{"0":{"x":"y"}},"arguments":"{}"}}`,
		`{"type":"message_start","message":[],"message":{"usage":{"input_tokens":5,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":1}}}`,
		`{"type":"content_block_start","content_block":{"type":"text","text":""}}`, `{"type":"content_block_start","content_block":{"type":"tool_use","input":{}}}`, `{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`, `{"type":"message_delta","delta":{},"delta":{"stop_reason":"max_tokens"}}`, `{"type":"message_delta","delta":{"stop_reason":"insufficient_system_resource"}}`,
		`{"type":"message_stop"}`, `{"type":"ping","type":"error"}`, `{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"model_context_window_exceeded","usage":{"output_tokens":3}}`, `{"content":"","error":{}}`, `{"error":{"code":0,"message":""}}`, `{"error":{"code":0},"choices":[{"delta":{"content":"a"}}]}`,
		`{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":2,"total_tokens":2}}`, `{"data":{}}`, `[DONE]`,
	} {
		f.Add([]byte(text))
	}
	for _, e := range benchEvents {
		f.Add([]byte(e.data))
	}
}

// FuzzValid: JSON is what encoding/json takes for it, up to a depth.
func FuzzValid(f *testing.F) {
	seed(f)
	f.Add([]byte(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)))
	f.Add([]byte(strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := Valid(data), json.Valid(data) && depth(data) <= maxDepth; got != want {
			t.Errorf("Valid(%q) = %v, want %v", data, got, want)
		}
	})
}

// FuzzMembers: of an object that is JSON, Members finds what gjson does; of
// anything else it finds parts, in order.
func FuzzMembers(f *testing.F) {
	seed(f)
	for _, text := range []string{`{"a\\":"\\\"","\u0061\"":[{"]":"}"},"\\"] , "b" :-1e5}x`, `{"a":}`, `{"a":]}`, `{"a":1]`, `{"":"","":{}}`, `{"a":"}`, `{"a\`, `{"a":tru`, `{"a":[}]}`} {
		f.Add([]byte(text))
	}
	for _, part := range []string{`{\"a\":\"#\"},`, `\\\\\"#`, `\\\\`, `\"\\`, `]\"`, `seven b`, `你好"`} { // strings that are read by words
		for n := range 9 {
			text := strings.Repeat("x", n) + strings.Repeat(part, 20)
			f.Add([]byte(`{"a":"` + text + `","b":[ -1.5e+10,12345678 ,"` + text + `" ,   {"c":null,       "d":""}],"e":1}`))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got []Member
		Members(data, func(m Member) { got = append(got, m) })
		end := 0
		for _, m := range got {
			if m.NameAt < end || m.NameEnds < m.NameAt+2 || m.ValueAt <= m.NameEnds || m.ValueEnds < m.ValueAt || m.ValueEnds > len(data) || string(m.Value) != string(data[m.ValueAt:m.ValueEnds]) {
				t.Fatalf("Members(%q) found %+v", data, got)
			}
			end = m.ValueEnds
		}
		text := gjson.ParseBytes(data)
		if !json.Valid(data) || !text.IsObject() {
			return
		}
		text.ForEach(func(name, value gjson.Result) bool {
			if len(got) == 0 || string(got[0].Name) != name.Str || string(got[0].Value) != value.Raw || got[0].NameAt != name.Index || got[0].ValueAt != value.Index {
				t.Fatalf("Members(%q): found %+v where %s: %s stands", data, got, name.Raw, value.Raw)
			}
			got = got[1:]
			return true
		})
		if len(got) > 0 {
			t.Errorf("Members(%q) found %+v besides", data, got)
		}
	})
}

// Brackets without end must fail before the stack does.
func TestEndlessBrackets(t *testing.T) {
	for _, brackets := range []string{"[", `{"a":`, `[{"a":`} {
		text := `{"choices":` + strings.Repeat(brackets, 1<<20)
		for w := Chat; w <= Embeddings; w++ {
			a := Answer{Wire: w}
			if got := a.Event([]byte(text)); got != Malformed || a.Begun() {
				t.Errorf("wire %d: Event(%s…) = %v, begun %v, want Malformed", w, brackets, got, a.Begun())
			}
		}
	}
}

// depth is how deep the brackets of valid JSON nest.
func depth(data []byte) int {
	deepest := 0
	d := json.NewDecoder(bytes.NewReader(data))
	for now := 0; ; deepest = max(deepest, now) {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			now++
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

// FuzzReading compares what is read of a text, as an event and as an answer
// of each wire, with a plain reading of its decoded form.
func FuzzReading(f *testing.F) {
	seed(f)
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		plan := make([]byte, random.IntN(200))
		for i := range plan {
			plan[i] = byte(random.Uint32())
		}
		f.Add(plan)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sameReading(t, data)
		sameReading(t, compose(data))
	})
}

func sameReading(t *testing.T, data []byte) {
	for w := Chat; w <= Embeddings; w++ {
		for _, event := range []bool{true, false} {
			got, want := Answer{Wire: w}, Answer{Wire: w}
			for range 2 { // the second time behind the first
				said := got.read(data, event)
				say := plainly(&want, data, event)
				if said != say || got != want {
					t.Fatalf("wire %d, event %v, %q: %v, %+v, want %v, %+v", w, event, data, said, got, say, want)
				}
			}
		}
	}
}

// shapes are what members hold, by their names: an object or objects of such
// members, or one of several words.
var shapes = map[string]string{
	"":                      "{ type type error code message errors error_message detail finish_reason statusCode base_resp Error ret event result object success usage response item delta text arguments refusal status output content_block content stop_reason data choices incomplete_details",
	"choices":               "[ index delta message text finish_reason finish_reason error",
	"delta":                 "{ role type content text stop_reason tool_calls finish_reason error",
	"message":               "{ role type content usage finishReason",
	"error":                 "{ message code",
	"base_resp":             "{ status_code",
	"statusCode":            "400 503 200",
	"content_block":         "{ type text input",
	"content":               "[ type text 0",
	"item":                  "{ type content arguments",
	"response":              "{ status error output usage incomplete_details code message",
	"output":                "[ type",
	"data":                  "[ index",
	"incomplete_details":    "{ reason",
	"usage":                 "{ prompt_tokens input_tokens completion_tokens output_tokens total_tokens prompt_cache_hit_tokens prompt_tokens_details input_tokens_details completion_tokens_details output_tokens_details cache_read_input_tokens cache_creation_input_tokens",
	"prompt_tokens_details": "{ cached_tokens", "input_tokens_details": "{ cached_tokens",
	"completion_tokens_details": "{ reasoning_tokens", "output_tokens_details": "{ reasoning_tokens",
	"type": "message_start content_block_start content_block_delta message_delta message_stop ping error text thinking tool_use" +
		" response.completed response.done response.incomplete response.failed response.cancelled keepalive response.queued response.in_progress response.output_item.done response.other response.output_item.added response.web_search_call.searching response.function_call_arguments.done",
	"status":        "completed incomplete failed queued",
	"reason":        "insufficient_system_resource max_output_tokens server_error",
	"finish_reason": "stop length error null insufficient_system_resource network_error abort other tool_calls STOP",
	"stop_reason":   "end_turn max_tokens model_context_window_exceeded insufficient_system_resource error tool_use",
}

// compose makes JSON of those shapes, as the bytes of plan decide, and breaks
// with them now and then.
func compose(plan []byte) []byte {
	next := func(n int) int {
		if len(plan) == 0 {
			return 0
		}
		b := plan[0]
		plan = plan[1:]
		return int(b) % n
	}
	pick := func(words []string) string { return words[next(len(words))] }
	odd := []string{"null", "false", "true", `""`, `"a"`, `"\n"`, "[ ]", "[{}]", "{\n}", `{"a":""}`, "0", "-1", "2.5e1", "1e999", "7"}
	quote := func(word string) string {
		if next(16) == 15 {
			return fmt.Sprintf(`"\u%04x%s"`, word[0], word[1:])
		}
		return `"` + word + `"`
	}
	var value func(name string) string
	object := func(names []string) string {
		var members []string
		for range next(6) {
			name := pick(names)
			members = append(members, quote(name)+":"+value(name))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	value = func(name string) string {
		shape := strings.Fields(shapes[name])
		switch {
		case len(shape) == 0, next(8) == 7:
			return pick(odd)
		case shape[0] == "{":
			return object(shape[1:])
		case shape[0] == "[":
			var objects []string
			for range next(4) {
				objects = append(objects, object(shape[1:]))
			}
			return "[" + strings.Join(objects, " , ") + "]"
		}
		return quote(pick(shape))
	}
	return []byte(object(strings.Fields(shapes[""])[1:]))
}

// A node is a decoded JSON value: nil, a bool, number, string, list or object.
type (
	node     any
	verbatim struct {
		text  string
		value float64
	}
	list   []node
	object []member // in their order, of one name more than one
	member struct {
		name  string
		value node
	}
)

func decode(d *json.Decoder) node {
	token, err := d.Token()
	if err != nil {
		panic(err)
	}
	switch token := token.(type) {
	case json.Number:
		n, _ := strconv.ParseFloat(string(token), 64)
		return verbatim{string(token), n}
	case json.Delim:
		if token == '[' {
			l := list{}
			for d.More() {
				l = append(l, decode(d))
			}
			d.Token()
			return l
		}
		o := object{}
		for d.More() {
			name, _ := d.Token()
			o = append(o, member{name.(string), decode(d)})
		}
		d.Token()
		return o
	default:
		return token
	}
}

// all returns the values at a path, in their order.
func all(n node, path ...string) []node {
	if len(path) == 0 {
		return []node{n}
	}
	var found []node
	switch n := n.(type) {
	case list:
		if path[0] == "0" && len(n) > 0 {
			return all(n[0], path[1:]...)
		}
	case object:
		for _, m := range n {
			if m.name == path[0] {
				found = append(found, all(m.value, path[1:]...)...)
			}
		}
	}
	return found
}

// absent is no node, which null is.
type absent struct{}

func first(n node, path ...string) node {
	if found := all(n, path...); len(found) > 0 {
		return found[0]
	}
	return absent{}
}

func str(n node) string  { s, _ := n.(string); return s }
func isList(n node) bool { _, ok := n.(list); return ok }
func isObj(n node) bool  { _, ok := n.(object); return ok }
func isSet(n node) bool  { return n != nil && n != node(absent{}) }

// fine is a value that says that all is well, or nothing.
func fine(n node) bool {
	switch n := n.(type) {
	case string:
		return slices.Contains([]string{"", "null", "false", "none", "0", "200", "ok", "success", "succeeded", "successful", "成功", "操作成功", "请求成功"}, string(bytes.ToLower([]byte(n))))
	case nil, absent:
		return true
	case bool:
		return !n
	case verbatim:
		return n.text == "0" || n.text == "200"
	}
	return false
}

func wrong(n node) bool {
	switch n := n.(type) {
	case list:
		return len(n) > 0
	case object:
		return slices.ContainsFunc(n, func(m member) bool {
			switch v := m.value.(type) {
			case list:
				return len(v) > 0
			case object:
				return len(v) > 0
			}
			return !fine(m.value)
		})
	}
	return !fine(n)
}

func isFilledNode(n node) bool {
	l, _ := n.(list)
	o, _ := n.(object)
	return len(l)+len(o) > 0
}

// statusNode is whether a value is the status of a failure.
func statusNode(n node) bool {
	text := str(n)
	if v, ok := n.(verbatim); ok {
		text = v.text
	}
	code, err := strconv.Atoi(text)
	return err == nil && len(text) == 3 && code >= 400 && code < 600
}

// errorName is whether a name is that of an error.
func errorName(name string) bool {
	name = string(bytes.ToLower([]byte(name)))
	return strings.HasSuffix(name, "error") || strings.HasSuffix(name, "exception")
}

// flatError is whether a code and a message stand in place of an answer.
func flatError(code, message node, event bool) bool {
	text := str(message) != ""
	switch {
	case !isSet(message) || fine(message):
		return false
	case code == node(absent{}):
		return !event && text
	case code == nil:
		return text
	}
	return !fine(code)
}

// plainSign is whether a member is one that only errors have.
func plainSign(name string, n node) bool {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-':
			return -1
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		}
		return r
	}, name)
	switch plain {
	case "error", "errors", "err", "errno", "errortype", "errormessage", "errormsg", "errorcode", "errorinfo", "errmsg", "errcode", "exception", "fault":
		return wrong(n)
	case "detail":
		return str(n) != "" || isFilledNode(n)
	case "object", "type", "event":
		return errorName(str(n))
	case "status", "result":
		return statusNode(n) || slices.Contains([]string{"error", "fail", "failed", "failure"}, string(bytes.ToLower([]byte(str(n)))))
	case "statuscode", "httpstatus", "httpcode", "ret", "retcode":
		return statusNode(n)
	case "success", "ok":
		return n == node(false)
	case "baseresp", "response":
		return wrong(first(n, "status_code")) || wrong(first(n, "Error")) || wrong(first(n, "error"))
	}
	return false
}

// signsIn is whether any member besides the first of each known name is such a one.
func signsIn(n node, known ...string) bool {
	o, _ := n.(object)
	seen := map[string]bool{}
	return slices.ContainsFunc(o, func(m member) bool {
		if slices.Contains(known, m.name) && !seen[m.name] {
			seen[m.name] = true
			return false
		}
		return plainSign(m.name, m.value)
	})
}

func number(n node, limit float64) int {
	v, ok := n.(float64)
	if !ok {
		n, _ := n.(verbatim)
		v = n.value
	}
	return int(math.Min(math.Max(v, 0), limit))
}

func filled(n node) bool {
	o, _ := n.(object)
	return slices.ContainsFunc(o, func(m member) bool {
		switch v := m.value.(type) {
		case string:
			return v != "" && !slices.Contains([]string{"role", "type", "finish_reason", "finishReason", "error"}, m.name)
		}
		return isFilledNode(m.value) && !slices.Contains([]string{"finish_reason", "finishReason", "error"}, m.name)
	})
}

// plainly is Answer.read on a decoded text.
func plainly(a *Answer, data []byte, event bool) Signal {
	if !json.Valid(data) || depth(data) > maxDepth {
		return Malformed
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	n := decode(d)
	if !isObj(n) {
		return Malformed
	}
	before := *a
	signal := plainObject(a, n, event)
	if !event && signal == Nothing && (a.finished == (set{}) || a.promised) && !(a.Wire == Chat && plainForeign(n)) {
		*a = before
		return Malformed
	}
	if signal == Payload {
		a.HasContent = true
		if a.Wire == Messages && event && a.finished != (set{}) {
			a.refuted, a.finished = true, set{}
		}
	}
	return signal
}

func plainForeign(n node) bool {
	some := false
	for _, m := range n.(object) {
		some = true
		switch m.name {
		case "id", "created", "model", "choices", "usage", "error":
			return false
		case "object":
			if strings.HasPrefix(str(m.value), "chat.completion") || strings.HasPrefix(str(m.value), "text_completion") {
				return false
			}
		}
	}
	return some
}

// plainFlat is members.isFlatError.
func plainFlat(n node, event bool) bool {
	return isObj(n) && (statusNode(first(n, "status")) || signsIn(n, "type", "error", "code", "message", "usage", "response", "item", "delta", "text", "arguments", "refusal", "status", "output", "content_block", "content", "stop_reason", "data") ||
		flatError(first(n, "code"), first(n, "message"), event))
}

func plainObject(a *Answer, n node, event bool) Signal {
	kind := str(first(n, "type"))
	failed := wrong(first(n, "error"))
	switch {
	case a.Wire == Responses && event:
		return plainResponseEvent(a, n, kind, failed)
	case a.Wire == Responses:
		return plainResponse(a, n)
	case a.Wire == Messages && event:
		return plainMessageEvent(a, n, kind, failed || kind == "" && plainFlat(n, true))
	case a.Wire == Messages && (errorName(kind) || failed || plainFlat(n, false) && !isList(first(n, "content"))):
		return Failure
	case a.Wire == Messages && isList(first(n, "content")):
		a.begun = true
		plainUsage(a, first(n, "usage"))
		said := Nothing
		for _, block := range first(n, "content").(list) {
			said = max(said, plainBlock(block))
		}
		return max(plainStop(a, str(first(n, "stop_reason")), said == Payload), said)
	case a.Wire == Embeddings && (failed || plainFlat(n, false) && !isList(first(n, "data"))):
		return Failure
	case a.Wire == Embeddings:
		plainUsage(a, first(n, "usage"))
		vectors, ok := first(n, "data").(list)
		if !ok {
			return Nothing
		}
		a.begun = true
		for _, v := range vectors {
			embedding := first(v, "embedding")
			if isList(embedding) || isObj(embedding) || str(embedding) != "" {
				l, _ := embedding.(list)
				o, _ := embedding.(object)
				none := len(l) > 0 && l[0] == nil
				if zeros := all(o, "0"); len(zeros) > 0 && zeros[0] == nil {
					none = true
				}
				if (len(l)+len(o) > 0 || !isList(embedding) && !isObj(embedding)) && !none {
					continue
				}
			}
			return Nothing
		}
		if len(vectors) == 0 {
			return Nothing
		}
		a.finish()
		return Payload
	case a.Wire == Messages:
		return Nothing
	}
	return plainChat(a, n, event)
}

func plainChat(a *Answer, n node, event bool) Signal {
	signal, failed, signed, choices := Nothing, false, false, 0
	hollow := false
	var code, message, finish node = absent{}, absent{}, absent{}
	for _, m := range n.(object) {
		switch m.name {
		case "error":
			failed = failed || wrong(m.value)
			hollow = hollow || !wrong(m.value) && isFilledNode(m.value)
		case "code":
			code = m.value
		case "message", "msg":
			message = m.value
		case "finish_reason", "finishReason":
			finish = m.value
		case "usage":
			plainUsage(a, m.value)
		case "choices":
			l, ok := m.value.(list)
			choices += len(l)
			for _, choice := range l {
				signal = max(signal, plainChoice(a, choice))
			}
			a.begun = a.begun || ok
			a.together = a.together || ok && !event || len(l) > 1
			a.indexed = a.indexed || a.together
		default:
			signed = signed || plainSign(m.name, m.value)
		}
	}
	if str(finish) != "" && choices <= 1 && a.begun {
		signal = plainReason(a, signal, int(a.last), str(finish))
	}
	if failed || choices == 0 && (signed || flatError(code, message, event)) {
		return Failure
	}
	a.doubtful = a.doubtful || hollow && event && choices == 0
	if text := str(message); event && choices == 0 && text != "" && !fine(message) {
		a.doubtful = a.doubtful || strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 || r == ' ' || r == '\t' || r == '\n' }) || plainBroken(text)
	}
	return signal
}

func plainChoice(a *Answer, n node) Signal {
	signal, index, finish, misplaced := Nothing, 0, "", ""
	o, _ := n.(object)
	failed := false
	for _, m := range o {
		switch m.name {
		case "index":
			if text := str(m.value); text != "" && isDigit(text[0]) {
				v, _ := strconv.ParseFloat(text, 64)
				m.value = v
			}
			index = number(m.value, maxIndex)
		case "finish_reason", "finishReason":
			finish = str(m.value)
		case "error":
			failed = failed || wrong(m.value)
		case "text":
			if str(m.value) != "" {
				signal = Payload
			}
		case "delta", "message":
			if filled(m.value) {
				signal = Payload
			}
			of, _ := m.value.(object)
			for _, m := range of {
				switch m.name {
				case "finish_reason", "finishReason":
					if str(m.value) != "" || isFilledNode(m.value) {
						misplaced = str(m.value)
					}
				case "error":
					failed = failed || (str(m.value) != "" || isFilledNode(m.value)) && wrong(m.value)
				}
			}
		}
	}
	if failed {
		signal = Failure
	}
	if finish == "" {
		finish = misplaced
	}
	return plainReason(a, signal, index, finish)
}

func plainBroken(reason string) bool {
	return slices.ContainsFunc([]string{"error", "abort", "cancel", "timeout", "timed_out", "fail", "interrupt", "unavailable", "overload"}, func(word string) bool {
		return strings.Contains(string(bytes.ToLower([]byte(reason))), word)
	})
}

var (
	plainWhole = []string{"stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete", "completed", "normal"}
	plainCalls = []string{"tool_calls", "function_call", "tool_use"}
	plainCut   = []string{"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "content_filter", "safety", "sensitive", "refusal"}
)

func plainReason(a *Answer, signal Signal, index int, finish string) Signal {
	payload := signal == Payload
	said := string(bytes.ToLower([]byte(finish)))
	ends := said != "" && said != "null"
	switch {
	case !ends:
	case slices.Contains(plainWhole, said), slices.Contains(plainCalls, said):
	case slices.Contains(plainCut, said):
		a.Partial = true
	case said == "insufficient_system_resource":
		signal, ends = OutOfResources, false
	case plainBroken(finish):
		signal, ends = max(signal, Failure), false
	case !payload && !a.HasContent:
		ends = false
	default:
		a.Partial = true
	}
	if ends {
		a.promised = slices.Contains(plainCalls, said) && !payload && !a.HasContent
	}
	a.takeIndex(index, ends, payload)
	return signal
}

func plainResponseEvent(a *Answer, n node, kind string, failed bool) Signal {
	switch kind {
	case "response.completed", "response.done", "response.incomplete", "response.failed", "response.cancelled":
		signal := plainResponse(a, first(n, "response"))
		if signal > Done {
			return signal
		}
		if kind == "response.failed" || kind == "response.cancelled" {
			return Failure
		}
		a.begun = true
		a.Partial = a.Partial || kind == "response.incomplete"
		a.finish()
		return Done
	case "error", "response.error":
		return Failure
	case "keepalive", "ping", "response.queued", "response.in_progress":
		return KeepAlive
	case "response.output_item.done":
		item := first(n, "item")
		if filled(first(item, "content", "0")) || str(first(item, "arguments")) != "" {
			return Payload
		}
		return Nothing
	}
	if failed || kind == "" && plainFlat(n, true) || errorName(kind) && !strings.HasPrefix(kind, "response.") {
		return Failure
	}
	a.begun = a.begun || strings.HasPrefix(kind, "response.")
	for _, name := range []string{"delta", "text", "arguments", "refusal"} {
		if str(first(n, name)) != "" {
			return Payload
		}
	}
	if kind == "response.output_item.added" && plainTool(str(first(n, "item", "type"))) {
		return Work
	}
	if parts := strings.SplitN(strings.TrimPrefix(kind, "response."), ".", 2); len(parts) == 2 && plainTool(parts[0]) {
		return Work
	}
	return Nothing
}

func plainTool(name string) bool {
	own := []string{"function_call", "custom_tool_call", "local_shell_call", "computer_call", "apply_patch_call"}
	return strings.HasSuffix(name, "_call") && !slices.Contains(own, name) || name == "mcp_list_tools" || name == "code_interpreter_call_code"
}

func plainResponse(a *Answer, n node) Signal {
	plainUsage(a, first(n, "usage"))
	output, status := isList(first(n, "output")), str(first(n, "status"))
	switch {
	case status == "failed" || status == "cancelled" || wrong(first(n, "error")):
		return Failure
	case status == "incomplete" && strings.EqualFold(str(first(n, "incomplete_details", "reason")), "insufficient_system_resource"):
		return OutOfResources
	case status == "incomplete" && plainBroken(str(first(n, "incomplete_details", "reason"))):
		return Failure
	case status == "completed" || status == "incomplete":
		a.Partial = a.Partial || status == "incomplete"
		a.finish()
	case !output && plainFlat(n, false):
		return Failure
	case !output && status == "":
		return Nothing
	}
	a.begun, a.Accepted = true, status == "queued" || status == "in_progress"
	if a.finished != (set{}) && !wrong(first(n, "output")) {
		return Nothing
	}
	return Payload
}

func plainMessageEvent(a *Answer, n node, kind string, failed bool) Signal {
	switch kind {
	case "message_start":
		a.begun = true
		plainUsage(a, first(n, "message", "usage"))
		return Nothing
	case "content_block_start":
		return plainBlock(first(n, "content_block"))
	case "content_block_delta":
		if filled(first(n, "delta")) {
			return Payload
		}
		return Nothing
	case "message_delta":
		plainUsage(a, first(n, "usage"))
		return plainStop(a, str(first(n, "delta", "stop_reason")), a.HasContent)
	case "message_stop":
		return Done
	case "ping":
		return KeepAlive
	case "error":
		return Failure
	}
	if failed || errorName(kind) {
		return Failure
	}
	return Nothing
}

func plainBlock(block node) Signal {
	switch str(first(block, "type")) {
	case "text", "thinking", "":
		if !filled(block) {
			return Nothing
		}
	}
	return Payload
}

func plainStop(a *Answer, reason string, has bool) Signal {
	said := string(bytes.ToLower([]byte(reason)))
	if said != "" && said != "null" || slices.Contains(plainCalls, said) {
		a.promised = slices.Contains(plainCalls, said) && !has
	}
	switch {
	case said == "insufficient_system_resource":
		return OutOfResources
	case said == "" || said == "null":
		return Nothing
	case !slices.Contains(slices.Concat(plainWhole, plainCalls, plainCut), said) && plainBroken(reason):
		return Failure
	}
	a.Partial = a.Partial || !slices.Contains(slices.Concat(plainWhole, plainCalls), said)
	a.finish()
	return Nothing
}

func plainUsage(a *Answer, n node) {
	if !isObj(n) {
		return
	}
	var u Usage
	read, written := 0, 0
	for _, m := range n.(object) {
		tokens := func(path ...string) int { return number(first(m.value, path...), MaxTokens) }
		switch m.name {
		case "prompt_tokens", "input_tokens":
			u.PromptTokens = tokens()
		case "completion_tokens", "output_tokens":
			u.CompletionTokens = tokens()
		case "total_tokens":
			u.TotalTokens = tokens()
		case "prompt_cache_hit_tokens":
			u.CachedTokens = max(u.CachedTokens, tokens())
		case "prompt_tokens_details", "input_tokens_details":
			u.CachedTokens = max(u.CachedTokens, tokens("cached_tokens"))
		case "completion_tokens_details", "output_tokens_details":
			u.ReasoningTokens = tokens("reasoning_tokens")
		case "cache_read_input_tokens":
			read = tokens()
		case "cache_creation_input_tokens":
			written = tokens()
		}
	}
	if a.Wire == Messages {
		u.PromptTokens = max(a.Usage.PromptTokens, number(float64(u.PromptTokens)+float64(read)+float64(written), MaxTokens))
		u.CompletionTokens = max(a.Usage.CompletionTokens, u.CompletionTokens)
		u.CachedTokens = max(a.Usage.CachedTokens, read)
		u.TotalTokens = number(float64(u.PromptTokens)+float64(u.CompletionTokens), MaxTokens)
	}
	a.Usage = u
}

// FuzzWalker: of a text that is JSON, a Walker that enters everything finds what gjson
// does, and one that enters nothing stands behind the same bytes. Any other text ends.
func FuzzWalker(f *testing.F) {
	seed(f)
	for _, text := range []string{`{"a":{"b":[{"c":[1,"]"]},[]]},"d":{}}`, `{"a":[{"b":1]}`, `{"a":{"b" 1},"c":2}`, `{"a":[1 2],"c":2}`, `{"a":{,},"c":[,]}`, `{"a`, `{"`, `{"a":{"`, `{"a":["\`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var walk func(w *Walker, found *[]string)
		walk = func(w *Walker, found *[]string) {
			switch {
			case w.Begins('{'):
				for l := w.Enter('{'); w.Next(&l); {
					*found = append(*found, string(l.Name))
					walk(w, found)
				}
			case w.Begins('['):
				for l := w.Enter('['); w.Next(&l); {
					walk(w, found)
				}
			default:
				*found = append(*found, string(w.Value()))
			}
		}
		var got []string
		all, none := NewWalker(data), NewWalker(data)
		walk(&all, &got)
		for l := none.Enter('{'); none.Next(&l); {
			none.Member(&l)
		}
		if all.at > len(data) || none.at > len(data) {
			t.Fatalf("%q: a walker stands at %d and %d", data, all.at, none.at)
		}
		if !json.Valid(data) || !gjson.ParseBytes(data).IsObject() {
			return
		}
		if all.at != none.at {
			t.Errorf("%q: who enters stands at %d, who does not at %d", data, all.at, none.at)
		}
		var want []string
		var list func(v gjson.Result)
		list = func(v gjson.Result) {
			if !v.IsArray() && !v.IsObject() {
				want = append(want, v.Raw)
				return
			}
			v.ForEach(func(name, value gjson.Result) bool {
				if v.IsObject() {
					want = append(want, name.Str)
				}
				list(value)
				return true
			})
		}
		list(gjson.ParseBytes(data))
		if !slices.Equal(got, want) {
			t.Errorf("%q: found %q, want %q", data, got, want)
		}
	})
}
