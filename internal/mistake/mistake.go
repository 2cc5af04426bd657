// Package mistake recognizes values that were meant to be something else, such as a key
// with its quotes, a URL of one operation, or a number without its unit. Each function
// returns what is wrong and what to write instead, or "" if the value may be meant.
//
// A value may be a secret that got into the wrong place. So no function quotes a key, and
// of a URL they quote only what cannot be one.
package mistake

import (
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Key returns what is wrong with a key. It quotes nothing of it.
func Key(key string) string {
	lower := strings.ToLower(strings.TrimSpace(key))
	switch {
	case key == "":
		return ""
	case lower == "":
		return "is blank"
	case strings.ContainsAny(key, "\r\n"):
		return "has a line break: if it comes from a file, use strings.TrimSpace"
	case strings.ContainsFunc(key, unicode.IsControl) && strings.TrimSpace(key) == key:
		return "has a line break or control character in it"
	case strings.TrimSpace(key) != key:
		return "has blanks around it: use strings.TrimSpace"
	case isQuoted(key):
		return "has quotes around it: give it without them"
	case lower == "bearer" || strings.HasPrefix(lower, "bearer ") || strings.HasPrefix(lower, "bearer:"):
		return `begins with "Bearer ": give the key alone`
	case strings.HasPrefix(lower, "authorization:") || strings.HasPrefix(lower, "x-api-key:") || strings.HasPrefix(lower, "api-key:"):
		return "begins with the name of a header: give the key alone"
	case strings.Contains(key, "://"):
		return "is a URL: are the key and the URL exchanged?"
	case isPlaceholder(key):
		return "is a placeholder: is a variable not expanded?"
	case assignment.MatchString(key):
		return "begins with the name of a variable and =: give the key alone"
	case strings.ContainsFunc(key, unicode.IsSpace):
		return "has a blank in it, which no key has"
	case strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII }):
		return "has a character that is not ASCII, which no key has"
	}
	return ""
}

// assignment matches a line of an environment file, such as DEEPSEEK_API_KEY=….
var assignment = regexp.MustCompile(`^(export[ \t]+)?[A-Z][A-Z0-9]*_[A-Z0-9_]*=.`)

func isQuoted(s string) bool {
	if len(s) < 2 {
		return s == `"` || s == "'"
	}
	for _, quote := range []string{`"`, "'", "`", "\u201c", "\u201d", "\u2018", "\u2019"} {
		if strings.HasPrefix(s, quote) || strings.HasSuffix(s, quote) {
			return true
		}
	}
	return false
}

// isPlaceholder reports whether s stands for a key in a document or a template.
func isPlaceholder(s string) bool {
	switch strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s)) {
	case "yourapikey", "yourkey", "yourapikeyhere", "yourkeyhere", "insertapikeyhere", "skyourapikey", "skyourkey", "sk...", "sk\u2026", "...", "\u2026":
		return true
	}
	around := func(open, end string) bool { return strings.HasPrefix(s, open) && strings.HasSuffix(s, end) }
	return around("<", ">") || around("{{", "}}") || around("${", "}") || around("%", "%") && len(s) > 2 || variable.MatchString(s)
}

var variable = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)

// hostLike matches what is certainly the beginning of a URL that lacks its scheme, and no
// key: localhost, a name of several labels, or an address, with a port or a path behind it
// or a usual ending.
var hostLike = regexp.MustCompile(`^(localhost(:[0-9]+)?(/|$)|[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)(/|$)|[a-z0-9-]+(\.[a-z0-9-]+)*\.(com|cn|ai|io|net|org|dev|local|internal|svc|example)(/|$)|[a-z0-9-]+:[0-9]{2,5}(/|$))`)

// Scheme returns what is wrong with a URL that has neither http:// nor https:// before it.
func Scheme(u string) string {
	u = strings.TrimSpace(u)
	lower := strings.ToLower(u)
	for _, scheme := range []string{"https", "http"} {
		if rest, ok := strings.CutPrefix(lower, scheme); ok && !strings.HasPrefix(lower, scheme+"://") && rest != "" && strings.ContainsRune(":/", rune(rest[0])) {
			return "has no :// behind " + scheme + ": did you mean " + scheme + "://\u2026?"
		}
	}
	if strings.Contains(u, "://") {
		return ""
	}
	if !hostLike.MatchString(u) {
		return "has no scheme: want an absolute http or https URL"
	}
	scheme := "https://"
	if strings.HasPrefix(u, "localhost") || strings.HasPrefix(u, "127.") || strings.HasPrefix(u, "10.") || strings.HasPrefix(u, "192.168.") {
		scheme = "http://"
	}
	return fmt.Sprintf("is %q, without a scheme: want an absolute http or https URL: did you mean %q?", u, scheme+u)
}

// operations are what SDKs append to a base URL, the longest first.
var operations = []string{
	"/anthropic/v1/messages", "/v1/messages", "/chat/completions", "/v1/chat", "/completions", "/responses", "/embeddings", "/messages", "/v1/models",
}

// keeps has what stays of an operation that begins with a part of a base URL.
var keeps = map[string]string{"/anthropic/v1/messages": "/anthropic", "/v1/chat": "/v1", "/v1/models": "/v1"}

// Base returns what is wrong with a base URL that is absolute and has no user.
func Base(u *url.URL) string {
	at := u.Scheme + "://" + u.Host
	host, path := u.Hostname(), strings.TrimRight(u.Path, "/")
	switch {
	case strings.TrimSpace(path) != path:
		return "has a blank at the end of its path: want " + at + strings.TrimRight(strings.TrimSpace(path), "/")
	case (host == "http" || host == "https") && (strings.HasPrefix(u.Path, "//") || strings.HasSuffix(u.Host, ":")):
		return "has a URL within the URL: if a function made it, such as AzureFoundry, give it the name of the resource alone"
	case strings.HasPrefix(host, ".") || strings.Contains(host, ".."):
		return fmt.Sprintf("has host %q, with an empty part: is a variable not set?", host)
	case strings.ContainsAny(u.Path, "\"'<>{}$`") || strings.ContainsAny(host, "\"'<>{}$`"):
		return "has a quote, or a variable that is not expanded"
	}
	if name, ok := doubled(host); ok {
		return fmt.Sprintf("has host %q, which ends in %s twice: give the function the name of the resource alone", host, name)
	}
	if strings.HasSuffix(path, "/v1/v1") {
		return fmt.Sprintf("ends in /v1/v1: did you mean %s?", at+strings.TrimSuffix(path, "/v1"))
	}
	for _, op := range operations {
		if root, ok := strings.CutSuffix(path, op); ok {
			return fmt.Sprintf("ends in %s, which is an operation: want the base URL: did you mean %s?", op, at+root+keeps[op])
		}
	}
	return ""
}

// doubled returns the domain that a host's name ends in twice.
func doubled(host string) (string, bool) {
	for i := range len(host) {
		if host[i] != '.' {
			continue
		}
		end := host[i:]
		if strings.Count(end, ".") >= 2 && strings.HasSuffix(host[:i], end) {
			return end[1:], true
		}
	}
	return "", false
}

// region matches the regions of clouds, such as us-east-1 or cn-beijing.
var region = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]{2,12}){1,3}(-[0-9]{1,2})?$`)

// Region returns what is wrong with the name of a cloud's region. It does not quote it,
// because a key may stand in its place.
func Region(name string) string {
	if region.MatchString(name) {
		return ""
	}
	return "has no region like us-east-1 in its host: are the arguments exchanged?"
}

// maxWord is the most bytes of a word for an endpoint.
const maxWord = 64

// Word returns what is wrong with a tag or region of an endpoint, which calls name. It does
// not quote it.
func Word(word string) string {
	switch {
	case strings.TrimSpace(word) == "":
		return "is empty: is a variable not set?"
	case !utf8.ValidString(word) || strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "has a line break or another character that cannot be printed"
	case strings.TrimSpace(word) != word:
		return "has blanks around it: give it without them"
	case len(word) > maxWord:
		return fmt.Sprintf("has %d bytes: want a word of at most %d", len(word), maxWord)
	case isQuoted(word):
		return "has quotes around it: give it without them"
	case isPlaceholder(word):
		return "is a placeholder: is a variable not expanded?"
	case strings.Contains(word, "://"):
		return "is a URL: want a word such as on-premises"
	case strings.HasPrefix(word, "sk-"):
		return "is a key: want a word such as on-premises"
	case strings.ContainsAny(word, ",;"):
		return "has several words in it: give each by itself"
	}
	return ""
}

// Least is the shortest duration that anybody means: a number without a unit is in
// nanoseconds, and is below it.
const Least = time.Millisecond

// Duration returns what a duration was meant to be, or "".
func Duration(d time.Duration) string {
	switch {
	case d <= 0 || d >= Least:
		return ""
	case d < 5000:
		return fmt.Sprintf("did you mean %v?", d*time.Second)
	}
	return fmt.Sprintf("did you mean %v?", d*time.Millisecond)
}

// LeastSize is the smallest size in bytes that anybody means. Below it, other units were
// meant.
const LeastSize = 1 << 10

// Size returns what a size in bytes was meant to be, or "".
func Size(n int64) string {
	if n <= 0 || n >= LeastSize {
		return ""
	}
	return fmt.Sprintf("did you mean %d MiB (%d << 20)?", n, n)
}

// LeastPerMillion is the lowest price of a million tokens that anybody means, in any currency.
// Below it, the price is that of one token.
const LeastPerMillion = 1e-4

// MostPerMillion is the highest.
const MostPerMillion = 1e9

// PerMillion returns what a price of a million tokens was meant to be, or "".
func PerMillion(price float64) string {
	switch {
	case price > 0 && price < LeastPerMillion:
		return fmt.Sprintf("that is the price of one token, or of a thousand: did you mean %v?", math.Round(price*1e6*1e9)/1e9)
	case price > MostPerMillion:
		return "nothing costs that much"
	}
	return ""
}
