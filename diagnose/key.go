package diagnose

import (
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/mistake"
)

// strangers are the prefixes of keys of hosts that breakwater's table does not have. Those of its
// hosts are in that table.
var strangers = [...]struct{ prefix, owner string }{
	{"sk-ant-", "Anthropic"}, {"sk-proj-", "OpenAI"}, {"sk-svcacct-", "OpenAI"}, {"AIza", "Google"}, {"gsk_", "Groq"}, {"hf_", "Hugging Face"},
	{"xai-", "xAI"}, {"pplx-", "Perplexity"}, {"csk-", "Cerebras"}, {"ghp_", "GitHub"}, {"github_pat_", "GitHub"}, {"AKIA", "AWS"}, {"r8_", "Replicate"},
}

// ownerOf returns whose keys begin as a key does, as far as that is known; profile is nil unless
// the host is in breakwater's table.
func ownerOf(key string) (owner string, profile *host.Profile) {
	for p := range host.All() {
		for _, prefix := range p.KeyPrefixes {
			if strings.HasPrefix(key, prefix) {
				return p.Name, p
			}
		}
	}
	for _, s := range strangers {
		if strings.HasPrefix(key, s.prefix) {
			return s.owner, nil
		}
	}
	return "", nil
}

// keysOf returns the keys that an endpoint has as text.
func keysOf(e breakwater.Endpoint) (keys []string) {
	if e.APIKey != "" {
		keys = append(keys, e.APIKey)
	}
	for name, values := range header.Canonical(e.Header) {
		if !header.IsCredential(name) {
			continue
		}
		for _, v := range values {
			scheme, rest, ok := strings.Cut(v, " ")
			switch {
			case ok && name == "Authorization" && !strings.EqualFold(scheme, "Bearer"): // another scheme may have any parameters
			case ok && name == "Authorization":
				keys = append(keys, rest)
			default:
				keys = append(keys, v)
			}
		}
	}
	return keys
}

// keyProblem returns what is wrong with the form of an endpoint's keys, or "".
func keyProblem(e breakwater.Endpoint) string {
	for _, key := range keysOf(e) {
		if wrong := mistake.Key(key); wrong != "" {
			return wrong
		}
	}
	return ""
}

// checkKey looks at the form of the key. A key that cannot be meant is not sent.
func (d *diagnosis) checkKey(s *stage) {
	wrong := keyProblem(d.endpoint)
	switch {
	case wrong != "":
		if zh, ok := chineseReasons[wrong]; ok && d.language == Chinese {
			wrong = zh
		}
		s.find(KeyMalformed, args{"reason": wrong}, nil)
		d.withhold()
		return
	case d.strangersKey(s):
		d.withhold()
		return
	}
	switch {
	case d.endpoint.KeyFunc != nil:
		s.say("from function", nil)
	case d.keyed:
		s.say("form right", nil)
	case d.endpoint.Keyless:
		s.say("keyless", nil)
	case d.endpoint.Rewrite != nil || len(d.endpoint.Header) > 0:
		s.say("in header", nil)
	default:
		variable := phrase{}
		if d.keyVariable != "" {
			variable = phrase{"in variable", args{"variable": d.keyVariable}}
		}
		s.find(KeyMissing, args{"variable": variable}, breakwater.ErrNoKey)
	}
	if d.unsound { // nothing that breakwater refuses to send is sent
		d.withhold()
	}
}

// strangersKey tells of a key whose prefix is that of another host.
func (d *diagnosis) strangersKey(s *stage) bool {
	if !d.profile.IsAt(d.target.Hostname()) {
		return false // a gateway may take any key
	}
	for _, key := range keysOf(d.endpoint) {
		if owner, profile := ownerOf(key); owner != "" && profile != d.profile {
			s.find(KeyOfAnotherHost, args{"owner": owner, "host": d.profile.Name}, nil)
			return true
		}
	}
	return false
}

// withhold leaves out all that may be a key. What remains is diagnosed without it.
func (d *diagnosis) withhold() {
	e := &d.endpoint
	d.withheld, d.keyed = true, false
	e.APIKey, e.KeyFunc, e.Rewrite = "", nil, nil
	e.Header = header.ForAnotherOrigin(header.Canonical(e.Header), 0)
}
