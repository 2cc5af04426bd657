package request

import (
	"bytes"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// Needs is a set of what a request needs of its host beside an answer. Not every host can
// honour each of them, and some hosts ignore what they cannot do.
type Needs uint16

const (
	Images     Needs = 1 << iota // a message has an image
	Tools                        // the model may call the caller's functions
	JSONMode                     // the answer is JSON
	JSONSchema                   // the answer is JSON of a schema

	Prefix        // the last message begins the answer: see Params.PrefixCompletion
	Review        // the host reviews prompt and answer: safety_check
	DeepSeekTools // the host runs DeepSeek's own tools, such as deepseek_web_search

	OwnPrefix // the last message begins the answer, as a field of few hosts says
	OwnTools  // the host runs a tool: a search, code, a server of tools
	Grammar   // the answer has a format that only hosts of its kind know
	Files     // a message has something other than text and images: a file, sound, video

	Prefill // the last one of Messages is the assistant's, and begins the answer: only rescues need it
	Length  // more text than some models take: see Params.LeastTokens

	Usage // the usage of a stream, if stream_options ask for it. No request needs it of a host: see AskForUsage

	Stored // the request refers to what one host stores: a file, an earlier response, a conversation, a container
)

const (
	// OfHost are the needs that hosts of the addressed kind can honour, and whoever says so.
	OfHost = OwnPrefix | OwnTools | Grammar | Files
	// Special are the needs that only few hosts honour, which the table of hosts names.
	Special = Prefix | Review | DeepSeekTools
)

// needs goes into the members of a body where a need may be said. It leaves all others to
// the caller.
func (p *parser) needs(l *wire.Level) {
	switch string(l.Name) {
	case "messages":
		p.PrefixCompletion = false
		p.messageList()
	case "input":
		if p.beginsListOfObjects() { // other lists are of texts or numbers, for embeddings
			p.messageList()
		} else {
			p.text()
		}
	case "system", "instructions":
		p.texts()
	case "tools":
		p.toolList()
	case "functions":
		p.needIf(Tools, p.walk.IsSet())
	case "response_format", "output_format":
		p.format()
	case "text", "output_config":
		for o := p.walk.Enter('{'); p.walk.Next(&o); {
			if string(o.Name) == "format" {
				p.format()
			}
		}
	case "safety_check":
		p.safetyCheck()
	case "previous_response_id", "conversation", "background", "container", "cached_content", "file_ids":
		p.needIf(Stored, p.walk.IsSet())
	case "prompt":
		p.needIf(Stored, p.walk.Begins('{')) // a prompt that the host keeps, by its id
		p.text()
	case "truncation":
		p.shortens = string(p.walk.Text()) != "disabled"
	case "transforms", "truncate_prompt_tokens":
		p.shortens = p.walk.IsSet()
	case "web_search_options", "enable_search", "web_search", "search_parameters", "search_settings", "enable_code_interpreter", "plugins", "mcp_servers":
		p.needIf(OwnTools, p.walk.IsSet())
	case "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "regex", "ebnf", "grammar":
		p.needIf(Grammar, p.walk.IsSet())
	case "continue_final_message":
		p.needIf(OwnPrefix, p.walk.IsSet())
	case "audio":
		p.needIf(Files, p.walk.IsSet())
	}
}

// needIf adds a need if the request says it.
func (p *parser) needIf(need Needs, said bool) {
	if said {
		p.Needs |= need
	}
}

// beginsListOfObjects reports whether the value is a list that begins with an object.
func (p *parser) beginsListOfObjects() bool {
	look := p.walk // a copy
	l := look.Enter('[')
	return look.Next(&l) && look.Begins('{')
}

// messageList reads the messages of a chat, or the items of the Responses API's input.
func (p *parser) messageList() {
	for list := p.walk.Enter('['); p.walk.Next(&list); {
		prefix, partial := false, false
		for m := p.walk.Enter('{'); p.walk.Next(&m); {
			switch string(m.Name) {
			case "content", "output":
				p.content(maxContentDepth)
			case "type":
				p.item(p.walk.Text())
			case "file_ids":
				p.needIf(Stored, p.walk.IsSet())
			case "attachments":
				p.needIf(Files, p.walk.IsSet())
			case "prefix":
				prefix = string(p.walk.Value()) == "true"
			case "partial":
				partial = string(p.walk.Value()) == "true"
			}
		}
		p.PrefixCompletion, p.partial = prefix, partial // only the last message counts
	}
}

// item reads the kind of an item of the Responses API.
func (p *parser) item(kind []byte) {
	switch string(kind) {
	case "", "message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output":
	case "item_reference":
		p.Needs |= Stored
	default: // what a tool of the host's did earlier
		p.history = true
	}
}

// maxContentDepth bounds how deep content is looked for in content: the result of a tool
// has parts, too.
const maxContentDepth = 3

// content reads what a message says: a text, or a list of parts.
func (p *parser) content(depth int) {
	p.text()
	for list := p.walk.Enter('['); p.walk.Next(&list); {
		for part := p.walk.Enter('{'); p.walk.Next(&part); {
			switch string(part.Name) {
			case "type":
				p.part(p.walk.Text())
			case "file_id":
				p.needIf(Stored, p.walk.IsSet())
			case "text":
				p.text()
			case "thinking", "input", "arguments", "cache_control", "citations": // of a text or of a call of the caller's own tool
			case "content", "output":
				if depth > 0 {
					p.content(depth - 1)
				}
			default:
				p.reference(string(part.Name))
			}
		}
	}
}

// part reads the kind of a part of a message.
func (p *parser) part(kind []byte) {
	switch string(kind) {
	case "", "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking",
		"reasoning", "reasoning_text", "summary_text", "tool_use", "tool_call", "tool_result":
	case "image_url", "image", "input_image":
		p.Needs |= Images
	default:
		if bytes.Contains(kind, []byte("tool")) { // what a tool of the host's did earlier
			p.history = true
			return
		}
		p.Needs |= Files
	}
}

// reference reads a member that may say where an image or a file is. What is kept by one
// host has an id, or an address that only this host understands.
func (p *parser) reference(name string) {
	if p.walk.Begins('"') {
		switch name {
		case "image_url", "file_url", "video_url", "url", "image", "file":
			p.needIf(Stored, isOfHost(p.walk.Text()))
		}
		return
	}
	for o := p.walk.Enter('{'); p.walk.Next(&o); {
		switch string(o.Name) {
		case "file_id":
			p.needIf(Stored, p.walk.IsSet())
		case "url", "file_url", "image_url":
			p.needIf(Stored, isOfHost(p.walk.Text()))
		}
	}
}

// isOfHost reports whether an address means something to one host only: an id of a file,
// or a URL that is neither on the Web nor the content itself.
func isOfHost(address []byte) bool {
	if bytes.HasPrefix(address, []byte("file-")) {
		return true
	}
	scheme, _, ok := bytes.Cut(address[:min(len(address), 16)], []byte(":"))
	return ok && !bytes.EqualFold(scheme, []byte("https")) && !bytes.EqualFold(scheme, []byte("http")) && !bytes.EqualFold(scheme, []byte("data"))
}

// toolList reads the tools that the model may call.
func (p *parser) toolList() {
	for list := p.walk.Enter('['); p.walk.Next(&list); {
		need := Tools
		for tool := p.walk.Enter('{'); p.walk.Next(&tool); {
			switch string(tool.Name) {
			case "type":
				need = toolNeed(p.walk.Text())
			case "vector_store_ids", "file_ids", "connector_id":
				p.needIf(Stored, p.walk.IsSet())
			case "container":
				p.container()
			}
		}
		p.Needs |= need
	}
}

// toolNeed returns what a tool of a kind needs. The caller runs functions itself.
func toolNeed(kind []byte) Needs {
	switch {
	case len(kind) == 0, string(kind) == "function", string(kind) == "custom":
		return Tools
	case bytes.HasPrefix(kind, []byte("deepseek_")):
		return DeepSeekTools
	}
	return OwnTools
}

// container reads where a tool runs code: in a container that exists, by its id, or in a
// new one, which may get files.
func (p *parser) container() {
	p.needIf(Stored, p.walk.Begins('"'))
	for o := p.walk.Enter('{'); p.walk.Next(&o); {
		if string(o.Name) == "file_ids" {
			p.needIf(Stored, p.walk.IsSet())
		}
	}
}

// format reads the object that says which format the answer has.
func (p *parser) format() {
	for o := p.walk.Enter('{'); p.walk.Next(&o); {
		if string(o.Name) != "type" {
			continue
		}
		switch kind := p.walk.Text(); string(kind) {
		case "", "text":
		case "json_object":
			p.Needs |= JSONMode
		case "json_schema":
			p.Needs |= JSONSchema
		default:
			p.Needs |= Grammar
		}
	}
}

// safetyCheck reads whether the host should review prompt and answer. The level low is as
// if the field was left out. API: https://api-docs.deepseek.com/guides/safety.
func (p *parser) safetyCheck() {
	if !p.walk.Begins('{') {
		p.needIf(Review, p.walk.IsSet())
		return
	}
	low := false
	for o := p.walk.Enter('{'); p.walk.Next(&o); {
		if string(o.Name) == "level" {
			low = string(p.walk.Text()) == "low"
		}
	}
	p.needIf(Review, !low)
}

// settle adds what is known only at the end of the body.
func (p *parser) settle() {
	p.needIf(Prefix, p.PrefixCompletion)
	p.needIf(OwnPrefix, p.partial)
	// The history of a host's tools is of no use without the tools. DeepSeek's are known by
	// their names, wherever the call was sent to.
	p.needIf(OwnTools, p.history && p.Needs&DeepSeekTools == 0)
}
