package breakwater

import (
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater/internal/chat"
)

// A Host says whose servers an endpoint's are: how they word their errors and
// what they can do. The zero value has it told from the endpoint's URL.
type Host string

const (
	HostDeepSeek    Host = "deepseek"
	HostSiliconFlow Host = "siliconflow"
	HostOpenAI      Host = "openai" // any OpenAI-compatible host: the generic rules
)

// hostRow is what is known of one host. This table is the only place to edit
// when the world changes; what is not in it follows the generic rules.
type hostRow struct {
	host    Host
	domains []string // of its servers, subdomains included
	roots   []string // what may precede an operation's path on its servers
	// queuesInside: it answers 200 first and queues then, so that a lack of
	// headers means something other than thinking.
	queuesInside bool
	thinkers     []string   // parts of names of models that think without being asked to
	words        []wordRule // its own words for a refusal, before the status decides
}

// A wordRule reads one refusal: all that is not empty must match.
type wordRule struct {
	status  int
	code    string // error.code or error.type, whole
	message string // part of the message, in lower case
	class   Class
}

var hostTable = []hostRow{
	{
		// https://api-docs.deepseek.com/quick_start/error_codes, rate_limit, faq
		host:         HostDeepSeek,
		domains:      []string{"api.deepseek.com"},
		roots:        []string{"", "/v1", "/beta", "/anthropic", "/anthropic/v1"},
		queuesInside: true,
		thinkers:     []string{"reasoner", "-r1"},
		words: []wordRule{
			{status: 400, message: "supported api model names are", class: ClassUnsuited},
			{status: 400, message: "model not exist", class: ClassUnsuited},
			{status: 400, message: "maximum context length", class: ClassUnsuited},
			{status: 400, message: "reasoning_content", class: ClassUnsuited},
			{status: 400, message: "content exists risk", class: ClassFiltered},
		},
	},
	{
		// Flat errors: {"code":50603,"message":"System is really busy…","data":null}
		host:     HostSiliconFlow,
		domains:  []string{"api.siliconflow.cn", "api.siliconflow.com"},
		roots:    []string{"/v1"},
		thinkers: []string{"-r1", "thinking"},
		words: []wordRule{
			{status: 400, message: "model does not exist", class: ClassUnsuited},
			{status: 403, message: "balance is insufficient", class: ClassNoFunds},
		},
	},
	{
		host:     HostOpenAI,
		thinkers: []string{"reasoner", "-r1"},
		words: []wordRule{
			{status: 400, code: "context_length_exceeded", class: ClassUnsuited},
			{status: 400, code: "content_filter", class: ClassFiltered},
			{status: 404, code: "model_not_found", class: ClassUnsuited},
		},
	},
}

// row returns the table's row for h; the generic one for what it does not know.
func (h Host) row() *hostRow {
	for i := range hostTable {
		if hostTable[i].host == h {
			return &hostTable[i]
		}
	}
	return &hostTable[len(hostTable)-1]
}

// hostOf tells the host from a server's name.
func hostOf(domain string) Host {
	domain = strings.ToLower(domain)
	for _, row := range hostTable {
		for _, d := range row.domains {
			if domain == d || strings.HasSuffix(domain, "."+d) {
				return row.host
			}
		}
	}
	return HostOpenAI
}

// DeepSeek is the endpoint of DeepSeek's own API.
func DeepSeek(apiKey string) Endpoint {
	return Endpoint{Name: "deepseek", URL: "https://api.deepseek.com", APIKey: apiKey, Host: HostDeepSeek}
}

// SiliconFlow is the endpoint of SiliconFlow's international API. It names its
// models otherwise than DeepSeek does: see the Models given here.
func SiliconFlow(apiKey string) Endpoint {
	return Endpoint{
		Name: "siliconflow", URL: "https://api.siliconflow.com/v1", APIKey: apiKey, Host: HostSiliconFlow,
		Models: map[string]string{
			"deepseek-flash":    "deepseek-ai/DeepSeek-V4-Flash",
			"deepseek-v4-flash": "deepseek-ai/DeepSeek-V4-Flash",
			"deepseek-v4-pro":   "deepseek-ai/DeepSeek-V4-Pro",
		},
	}
}

// thinks reports whether a model is known by its name to think unasked.
func (row *hostRow) thinks(model string) bool {
	model = strings.ToLower(model)
	for _, part := range row.thinkers {
		if strings.Contains(model, part) {
			return true
		}
	}
	return false
}

// classify says what a refusal means: the host's own words first, then the
// status, the message of a host we do not know never.
func (row *hostRow) classify(status int, body []byte) Class {
	r := chat.RefusalOf(body)
	message := strings.ToLower(r.Message)
	for _, w := range row.words {
		if w.status == status && (w.code == "" || w.code == r.Code || w.code == r.Type) && strings.Contains(message, w.message) {
			return w.class
		}
	}
	switch {
	case status >= 300 && status < 400:
		return ClassRedirected
	case status == http.StatusTooManyRequests:
		return ClassRateLimited
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ClassKeyRejected
	case status == http.StatusPaymentRequired:
		return ClassNoFunds
	case status == http.StatusRequestTimeout, status == http.StatusFailedDependency, status >= 500:
		return ClassUnavailable
	}
	return ClassRefused
}
