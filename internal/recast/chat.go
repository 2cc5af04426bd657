package recast

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// A completion, of a chat or of a prompt (FIM), is built from its chunks. Its choices tell
// which of the two it is. API: https://api-docs.deepseek.com/api/create-chat-completion
// and …/create-completion.
type completion struct {
	object
	choices list
	isChat  bool // a choice has a delta
	isText  bool // a choice has a text
}

func newCompletion() *completion {
	c := new(completion)
	c.object.of = c.part
	c.choices.newObject = func() *object { return &object{of: c.partOfChoice} }
	return c
}

func (c *completion) take(chunk gjson.Result) bool { return c.add(chunk) }

func (c *completion) part(name string) part {
	switch name {
	case "choices":
		return &c.choices
	case "obfuscation": // OpenAI adds it to hide the length of chunks
		return absent{}
	}
	return new(value)
}

func (c *completion) partOfChoice(name string) part {
	switch name {
	case "delta":
		c.isChat = true
		return newMessage()
	case "text":
		c.isText = true
		return &value{rule: textsGrow}
	case "logprobs":
		return &object{of: func(string) part { return &value{rule: textsGrow} }}
	case "message": // some hosts repeat in it what the deltas have said
		return nil
	case "index":
		return &value{rule: alwaysSame}
	}
	return &value{rule: listsGrow}
}

// newMessage returns an empty message. It has its role, and a content even if that stays
// null.
func newMessage() *object {
	return &object{of: partOfMessage, members: []member{
		{name: "role", key: `"role"`, part: &value{raw: `"assistant"`}},
		{name: "content", key: `"content"`, part: &value{raw: "null", rule: textsGrow}},
	}}
}

func partOfMessage(name string) part {
	switch name {
	case "tool_calls":
		return &list{newObject: func() *object { return &object{of: partOfCall} }}
	case "function_call": // the old name of tool calls
		return &object{of: partOfFunction}
	}
	return &value{rule: textsGrow}
}

func partOfCall(name string) part {
	switch name {
	case "index":
		return absent{}
	case "function", "custom":
		return &object{of: partOfFunction}
	case "id", "type":
		return &value{rule: alwaysSame}
	}
	return new(value)
}

func partOfFunction(name string) part {
	switch name {
	case "arguments", "input":
		return &value{rule: textsGrow}
	case "name":
		return &value{rule: alwaysSame}
	}
	return new(value)
}

func (c *completion) json() ([]byte, bool) {
	if c.isChat == c.isText {
		return nil, false
	}
	kind := `"chat.completion"`
	if c.isText {
		kind = `"text_completion"`
	}
	m := c.member("object", `"object"`)
	if m == nil {
		return nil, false
	}
	m.part = &value{raw: kind}
	for _, choice := range c.choices.objects {
		switch {
		case choice == nil:
		case c.isText:
			if m := choice.member("text", `"text"`); m == nil || !m.part.add(gjson.Parse(`""`)) {
				return nil, false
			}
		default:
			m := choice.member("delta", "")
			if m == nil {
				return nil, false
			}
			m.key = `"message"`
		}
	}
	return c.appendTo(nil), true
}

// chunks writes the chunks of one completion.
type chunks struct {
	*stream
	head  string // what each chunk says about the completion
	first string // what only the first one says
}

// streamCompletion writes the choices one after the other. The usage is in the last chunk,
// as DeepSeek does it, and not in a chunk without choices, because not every client looks
// there.
func streamCompletion(to *stream, body gjson.Result) bool {
	all, ok := fieldsOf(body)
	if !ok {
		return false
	}
	kind := `"chat.completion.chunk"`
	if gjson.Get(all.get("choices"), "0.text").Exists() {
		kind = `"text_completion"`
	}
	c := &chunks{
		stream: to,
		head:   `{"object":` + kind + "," + all.only("id", "created", "model", "system_fingerprint").open(),
		first:  all.without("object", "id", "created", "model", "system_fingerprint", "choices", "usage").open(),
	}
	count := gjson.Get(all.get("choices"), "#").Int()
	least := 0 // the least value that the next index can have, because choices come in order
	for i, text := range all.list("choices") {
		choice, ok := fieldsOf(text)
		n, known := index(gjson.Parse(choice.get("index")), maxIndex)
		if !ok || !known || n < least {
			return false
		}
		least = n + 1
		usage := ""
		if said := all.get("usage"); said != "" && int64(i) == count-1 {
			usage = `,"usage":` + said
		}
		write := c.choice
		if kind == `"text_completion"` {
			write = c.textChoice
		}
		if !write(strconv.Itoa(n), choice, usage) {
			return false
		}
	}
	c.event("[DONE]")
	return true
}

// chunk writes one chunk. The texts are the parts of its choice.
func (c *chunks) chunk(index string, choice ...string) {
	c.finish(index, `,"finish_reason":null`, "", choice...)
}

// finish writes the chunk that ends a choice, and perhaps the completion.
func (c *chunks) finish(index, end, usage string, choice ...string) {
	data := append(make([]string, 0, 16), c.head, c.first, `"choices":[{"index":`, index, ",")
	c.first = ""
	c.event(append(append(data, choice...), end, "}]", usage, "}")...)
}

// textChoice writes a choice of a prompt's completion.
func (c *chunks) textChoice(index string, choice fields, usage string) bool {
	text := choice.get("text")
	rest, ok := restOf(choice, "text")
	if !ok || !isString(text) || choice.get("message") != "" || choice.get("delta") != "" {
		return false
	}
	for piece := range pieces(text) {
		c.chunk(index, `"text":"`, piece, `"`)
	}
	c.finish(index, rest, usage, `"text":""`)
	return true
}

// choice writes a choice of a chat: its role, its reasoning, its content, its tool calls,
// its finish reason.
func (c *chunks) choice(index string, choice fields, usage string) bool {
	message, ok := fieldsOf(gjson.Parse(choice.get("message")))
	rest, known := restOf(choice, "message")
	if !ok || !known || choice.get("text") != "" || choice.get("delta") != "" {
		return false
	}
	if calls := message.or("tool_calls", "null"); !isList(calls) && calls != "null" || !areParts(message, "function_call") {
		return false
	}
	opening, reasoned, said := opened(message)
	c.chunk(index, `"delta":`, opening.json())
	for _, one := range append(reasoned, said...) {
		for piece := range pieces(one.raw) {
			c.chunk(index, `"delta":{`, one.key, `:"`, piece, `"}`)
		}
	}
	for i, call := range message.list("tool_calls") {
		if i == maxIndex || !c.call(index, i, call) {
			return false
		}
	}
	c.finish(index, rest, usage, `"delta":{}`)
	return true
}

// opened returns the first delta, and the texts that begin in it.
func opened(message fields) (opening, reasoned, said fields) {
	opening = fields{{key: `"role"`, raw: message.or("role", `"assistant"`)}}
	for _, one := range message.without("role") {
		switch {
		case isString(one.raw):
			if one.name == "reasoning_content" || one.name == "reasoning" {
				reasoned = append(reasoned, one)
			} else {
				said = append(said, one)
			}
			one.raw = `""`
		case one.name == "tool_calls" && !isEmpty(one.raw):
			continue
		}
		opening = append(opening, one)
	}
	return opening, reasoned, said
}

// call writes a tool call: first everything but its arguments, then these.
func (c *chunks) call(index string, i int, text gjson.Result) bool {
	call, ok := fieldsOf(text)
	if !ok || !areParts(call, "function", "custom") {
		return false
	}
	type argument struct{ of, key, raw string }
	var arguments []argument
	head := fields{{key: `"index"`, raw: strconv.Itoa(i)}}
	for _, one := range call.without("index") {
		if (one.name == "function" || one.name == "custom") && isObject(one.raw) {
			function, _ := fieldsOf(gjson.Parse(one.raw))
			for _, name := range []string{"arguments", "input"} {
				if raw := function.get(name); isString(raw) {
					function = function.with(name, `""`)
					arguments = append(arguments, argument{one.key, `"` + name + `"`, raw})
				}
			}
			one.raw = function.json()
		}
		head = append(head, one)
	}
	c.chunk(index, `"delta":{"tool_calls":[`, head.json(), `]}`)
	for _, one := range arguments {
		for piece := range pieces(one.raw) {
			c.chunk(index, `"delta":{"tool_calls":[{"index":`, strconv.Itoa(i), `,`, one.of, `:{`, one.key, `:"`, piece, `"}}]}`)
		}
	}
	return true
}

// restOf returns what the last chunk of a choice has besides, including its finish reason.
func restOf(choice fields, but string) (string, bool) {
	rest := choice.without("index", but)
	return strings.TrimSuffix(","+rest.open(), ","), areParts(choice, "logprobs")
}

// areParts reports whether the members with these names, if present and not null, are
// objects that can be put together again.
func areParts(of fields, names ...string) bool {
	for _, name := range names {
		raw := of.get(name)
		if raw == "" || raw == "null" {
			continue
		}
		if _, ok := fieldsOf(gjson.Parse(raw)); !ok {
			return false
		}
	}
	return true
}
