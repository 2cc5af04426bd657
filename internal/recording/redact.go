package recording

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/header"
)

// Removed stands for the value of a header that must not be written.
const Removed = "(removed)"

// A Hook overwrites, in place, what else must not be written. part is "url", "header",
// "request", "response" or "error".
type Hook func(part string, text []byte)

// A Redactor removes keys from what is written of one exchange: what stands in headers and
// parameters that hold keys, whatever repeats it elsewhere, and what has the form of a key. A
// text keeps its length, so that lengths and times of a body still hold.
type Redactor struct {
	secrets []string
	hook    Hook
}

// NewRedactor returns a Redactor for the exchange of a request. hook may be nil.
func NewRedactor(req *http.Request, hook Hook) *Redactor {
	r := &Redactor{hook: hook}
	r.learn(req.Header)
	if req.URL != nil {
		for _, pair := range strings.Split(req.URL.RawQuery, "&") {
			name, v, _ := strings.Cut(pair, "=")
			if plain, err := url.QueryUnescape(name); err == nil && IsSecret(plain) {
				r.add(v)
				if v, err = url.QueryUnescape(v); err == nil {
					r.add(v)
				}
			}
		}
		if u := req.URL.User; u != nil {
			password, _ := u.Password()
			r.addUser(u.Username())
			r.add(password)
		}
	}
	return r
}

// learn takes over the values of headers that hold keys.
func (r *Redactor) learn(h http.Header) {
	for name, values := range h {
		if !IsSecret(name) {
			continue
		}
		for _, v := range values {
			switch scheme, rest, two := strings.Cut(strings.TrimSpace(v), " "); {
			case strings.Contains(name, "ookie"):
				for pair := range strings.SplitSeq(v, ";") {
					_, v, _ := strings.Cut(pair, "=")
					if v = strings.TrimSpace(v); len(v) >= longSecret {
						r.add(v)
					}
				}
			case two && strings.EqualFold(scheme, "Basic"):
				rest = strings.TrimSpace(rest)
				r.add(rest)
				plain, _ := base64.StdEncoding.DecodeString(rest) // what is no base64 has no parts
				user, password, _ := strings.Cut(string(plain), ":")
				r.addUser(user)
				r.add(password)
			case two:
				r.add(strings.TrimSpace(rest))
			default:
				r.add(scheme)
			}
		}
	}
}

const (
	leastSecret = 4 // bytes; shorter ones are words that occur anywhere
	longSecret  = 8 // from here on, a secret is found within a longer word, too
)

// addUser takes over the name of a user, which may be a key. A short one is a word that occurs
// anywhere, as "user" does in each prompt.
func (r *Redactor) addUser(name string) {
	if len(name) >= longSecret {
		r.add(name)
	}
}

// add takes over a secret, in the spellings that texts may have.
func (r *Redactor) add(secret string) {
	if len(secret) < leastSecret {
		return
	}
	asJSON, _ := json.Marshal(secret) // never fails for a string
	for _, spelling := range []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(asJSON), `"`),
		base64.StdEncoding.EncodeToString([]byte(secret)),
	} {
		if !slices.Contains(r.secrets, spelling) {
			r.secrets = append(r.secrets, spelling)
		}
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) }) // one may be in another
}

// keys are what has the form of a key wherever it stands. The last group, or all, is masked.
var keys = []*regexp.Regexp{
	regexp.MustCompile(`\b(?:sk|pk|rk|ak|ark|gsk|xai|hf|nvapi|r8|fw|ghp|gho|ghs|glpat|xox[abp])[-_][A-Za-z0-9_-]{16,}`),
	regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`),
	regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`),
	regexp.MustCompile(`(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{16,})`),
	regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----([\s\S]*?)-----END`),
	regexp.MustCompile(`(?i)"(?:api[-_]?key|(?:access|refresh|auth|id)[-_]?token|(?:client[-_]?)?secret|password|authorization|private[-_]?key)"\s*:\s*"((?:[^"\\]|\\.)*)"`),
	regexp.MustCompile(`(?i)[?&;](?:api[-_]?key|key|(?:access[-_]?)?token|secret|password|sig|signature)=([^\s&"'<>#]{4,})`),
	regexp.MustCompile(`://([^\s/@:"']+:[^\s/@"']+)@`),
}

// Text returns a copy of text without keys, as long as text.
func (r *Redactor) Text(part string, text []byte) []byte {
	text = bytes.Clone(text)
	for _, secret := range r.secrets {
		for from := 0; ; {
			i := bytes.Index(text[from:], []byte(secret))
			if i < 0 {
				break
			}
			i += from
			from = i + len(secret)
			if len(secret) >= longSecret || isWord(text, i, from) {
				mask(text[i:from])
			}
		}
	}
	for _, form := range keys {
		for _, at := range form.FindAllSubmatchIndex(text, -1) {
			mask(text[at[len(at)-2]:at[len(at)-1]])
		}
	}
	if r.hook != nil {
		r.hook(part, text)
	}
	return text
}

// isWord reports whether no letter or digit stands beside text[from:to].
func isWord(text []byte, from, to int) bool {
	return (from == 0 || !isAlphanumeric(text[from-1])) && (to == len(text) || !isAlphanumeric(text[to]))
}

func isAlphanumeric(b byte) bool {
	return b >= 0x80 || '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

func mask(text []byte) {
	for i := range text {
		text[i] = 'x'
	}
}

// IsSecret reports whether a header or parameter of that name may hold a key, or may say who
// the caller is.
func IsSecret(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch {
	case strings.Contains(name, "ratelimit"), strings.Contains(name, "rate-limit"),
		name == "www-authenticate", name == "proxy-authenticate", strings.HasSuffix(name, "idempotency-key"):
		return false
	case name == "key", name == "sig":
		return true
	}
	return slices.ContainsFunc(secretWords[:], func(word string) bool { return strings.Contains(name, word) })
}

var secretWords = [...]string{
	"auth", "cookie", "token", "secret", "passw", "credential", "session", "signature",
	"-key", "apikey", "key-", "organization", "organisation", "-org", "project", "account", "tenant", "jwt",
}

// Header returns a copy of h without keys.
func (r *Redactor) Header(h http.Header) http.Header {
	r.learn(h)
	clean := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			switch {
			case IsSecret(name):
				v = Removed
			case name == "Location", name == "Content-Location", name == "Referer":
				v = r.urlText(v)
			default:
				v = string(r.Text("header", []byte(v)))
			}
			clean[name] = append(clean[name], v)
		}
	}
	return clean
}

func (r *Redactor) urlText(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return Removed // it cannot be told where a key would stand
	}
	return r.URL(u)
}

// URL returns a URL without its user, its fragment, and the values of parameters that hold keys.
func (r *Redactor) URL(u *url.URL) string {
	if u == nil {
		return ""
	}
	clean := *u
	clean.User, clean.Fragment, clean.RawFragment = nil, "", ""
	pairs := strings.Split(clean.RawQuery, "&")
	for i, pair := range pairs {
		name, _, ok := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if ok && (err != nil || IsSecret(plain)) {
			pairs[i] = name + "=removed"
		}
	}
	clean.RawQuery = strings.Join(pairs, "&")
	return string(r.Text("url", []byte(clean.String())))
}

// Err returns an error like err whose texts have no keys, with the same types.
func (r *Redactor) Err(err error) error {
	f := faultOf(err, maxDepth)
	if f == nil {
		return nil
	}
	r.fault(f)
	return f.error()
}

func (r *Redactor) fault(f *fault) {
	for _, text := range []*string{&f.Text, &f.Op, &f.Name, &f.Server, &f.Addr, &f.Source} {
		*text = string(r.Text("error", []byte(*text)))
	}
	for _, inner := range f.Wraps {
		r.fault(inner)
	}
}

// ErrSealed is the reason why an exchange must not be written: its body cannot be searched
// for keys.
var ErrSealed = errors.New("its body is coded so that it cannot be searched for keys")

// maxOpened bounds what a compressed body is opened to.
const maxOpened = 64 << 20

// Body returns a copy of a body without keys. A compressed body is returned as it is if it
// holds none; otherwise the error is ErrSealed.
func (r *Redactor) Body(part string, h http.Header, body []byte) ([]byte, error) {
	if len(body) == 0 || !header.IsEncoded(h) {
		return r.Text(part, body), nil
	}
	coding := strings.ToLower(strings.TrimSpace(strings.Join(h["Content-Encoding"], ",")))
	if coding != "gzip" && coding != "x-gzip" {
		return nil, fmt.Errorf("%w: %s", ErrSealed, coding)
	}
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: it is not gzip, as its header says", ErrSealed)
	}
	plain, err := io.ReadAll(io.LimitReader(reader, maxOpened+1)) // a body that broke off is checked as far as it goes
	if len(plain) > maxOpened || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(plain, r.Text(part, plain)) {
		return nil, fmt.Errorf("%w: it is compressed, and holds a key or breaks the form", ErrSealed)
	}
	return body, nil
}
