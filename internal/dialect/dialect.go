// Package dialect knows how the hosts of models word their errors: the table behind
// breakwatertest's fake hosts and chaos's faults. All of it is read-only data and pure
// functions. It knows no HTTP.
package dialect

import "strings"

// A Dialect is a host's form of errors and extra fields.
type Dialect int

// The dialects, in the order of breakwatertest.Dialect.
const (
	DeepSeek Dialect = iota
	OpenAI
	SiliconFlow
	Ark
	Bailian
	TokenHub
	Qianfan
	Azure
	OpenRouter
	Together
	Fireworks
	Ollama
	VLLM
	SGLang
)

// Known reports whether d is one of the dialects.
func (d Dialect) Known() bool { return d >= 0 && int(d) < len(rows) }

// Row returns what is known of the dialect, which must be Known.
func (d Dialect) Row() *Row { return &rows[d] }

// A Refusal is a reason not to answer. Each host has its own message for it.
type Refusal int

// The refusals.
const (
	NoKey Refusal = iota
	WrongKey
	UnknownModel
	RetiredModel
	NoMoney
	RateLimited
	TooManyAtOnce
	Throttled
	TooBusy
	Broken
	BadBody
	TooLong
	Filtered
	ReasoningMissing
	PrefixOutsideBeta
	PrefixRejected
	NoSuchPath
)

// A Row is one row of the table: everything in which a host differs from others.
type Row struct {
	Name      string
	BasePath  string // the persona's base path
	shape     func(Failure) string
	Thinks    bool     // it thinks unless the request disables that
	Reasoning bool     // its field is called "reasoning", not "reasoning_content"
	Cached    bool     // its usage reports cached tokens
	Comment   string   // the keep-alive of a queued stream; "": the usual one
	Trace     string   // the header with the request's id; "": none
	Messages  []string // the paths of Messages, if they are not below the base path
	refusals  map[Refusal]Failure
}

// A Failure is one refusal as a host sends it. Its message may have placeholders:
// {model} for the requested model, {models} for the models that exist, {key} for
// the end of the key, {n} for a number and {n+1} for the next number.
type Failure struct {
	Status  int
	Code    any // a string, or an int
	Kind    string
	Message string
	Header  []string // names and values, alternating
	Plain   bool     // the body is the message as plain text, without a Content-Type
}

// Words finds the refusal in the dialect. If the host's own message is not known,
// it guesses that the host sends OpenAI's.
func (d Dialect) Words(r Refusal) Failure {
	if f, ok := d.Row().refusals[r]; ok {
		return f
	}
	f := OpenAI.Row().refusals[r]
	if _, number := d.Row().refusals[TooBusy].Code.(int); number {
		f.Code = f.Status
	}
	return f
}

// Fill replaces placeholders: names and values, alternating.
func (f Failure) Fill(pairs ...string) Failure {
	f.Message = strings.NewReplacer(pairs...).Replace(f.Message)
	return f
}

// rows is indexed by Dialect. The messages are verbatim unless a comment says
// otherwise.
var rows = []Row{
	DeepSeek: {
		Name: "DeepSeek", shape: Nested, Thinks: true, Cached: true, Trace: "X-Ds-Trace-Id",
		Messages: []string{"/anthropic/v1/messages"},
		refusals: map[Refusal]Failure{
			NoKey:        {Status: 401, Message: "Authentication Fails (governor)", Plain: true},
			WrongKey:     {Status: 401, Kind: "authentication_error", Code: "invalid_request_error", Message: "Authentication Fails, Your api key: ****{key} is invalid"},
			UnknownModel: {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "The supported API model names are {models}, but you passed {model}."},
			RetiredModel: {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you passed {model}."},
			NoMoney:      {Status: 402, Kind: "unknown_error", Code: "invalid_request_error", Message: "Insufficient Balance"},
			TooManyAtOnce: {Status: 429, Kind: "rate_limit_error", Code: "rate_limit_exceeded", // kind and code are guessed
				Message: "Your current concurrency is {n+1}, which exceeds your concurrency limit of {n} based on your remaining balance. Please top up your balance to restore your concurrency."},
			TooBusy:          {Status: 503, Kind: "service_unavailable_error", Code: "service_unavailable_error", Message: "Service is too busy."},
			BadBody:          {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "Failed to deserialize the JSON body into the target type"},
			ReasoningMissing: {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "The `reasoning_content` in the thinking mode must be passed back to the API."},
			// From memory.
			TooLong:  {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "This model's maximum context length is 1048576 tokens. However, you requested 1048999 tokens (1044903 in the messages, 4096 in the completion). Please reduce the length of the messages or completion."},
			Filtered: {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "Content Exists Risk"},
			// We know what these mean, but we made up the messages.
			PrefixOutsideBeta: {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "A message with prefix is only available in beta: set the base URL to https://api.deepseek.com/beta."},
		},
	},
	OpenAI: {
		Name: "OpenAI", BasePath: "/v1", shape: Nested, Trace: "X-Request-Id",
		// The other hosts fall back to these. The messages are partly guessed.
		refusals: map[Refusal]Failure{
			NoKey:            {Status: 401, Kind: "invalid_request_error", Message: "You didn't provide an API key."},
			WrongKey:         {Status: 401, Kind: "invalid_request_error", Code: "invalid_api_key", Message: "Incorrect API key provided: ****{key}."},
			UnknownModel:     {Status: 404, Kind: "invalid_request_error", Code: "model_not_found", Message: "The model `{model}` does not exist or you do not have access to it."},
			RetiredModel:     {Status: 404, Kind: "invalid_request_error", Code: "model_not_found", Message: "The model `{model}` has been deprecated."},
			NoMoney:          {Status: 429, Kind: "insufficient_quota", Code: "insufficient_quota", Message: "You exceeded your current quota, please check your plan and billing details."},
			RateLimited:      {Status: 429, Kind: "rate_limit_error", Code: "rate_limit_exceeded", Message: "Rate limit reached, please slow down."},
			TooManyAtOnce:    {Status: 429, Kind: "rate_limit_error", Code: "rate_limit_exceeded", Message: "Too many requests at once: the limit is {n}."},
			Throttled:        {Status: 429, Kind: "insufficient_quota", Code: "insufficient_quota", Message: "You exceeded your current quota, please check your plan and billing details."},
			TooBusy:          {Status: 503, Kind: "server_error", Code: "service_unavailable", Message: "The server is currently overloaded: the service is too busy. Please try again later."},
			Broken:           {Status: 500, Kind: "server_error", Code: "internal_error", Message: "Internal server error, please try again later."},
			BadBody:          {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "We could not parse the JSON body of your request."},
			TooLong:          {Status: 400, Kind: "invalid_request_error", Code: "context_length_exceeded", Message: "This model's maximum context length is 131072 tokens. However, your messages resulted in 140000 tokens. Please reduce the length of the messages."},
			Filtered:         {Status: 400, Kind: "invalid_request_error", Code: "content_filter", Message: "The prompt was filtered by the content management policy."},
			ReasoningMissing: {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "The `reasoning_content` in the thinking mode must be passed back to the API."},
			PrefixRejected:   {Status: 400, Kind: "invalid_request_error", Code: "invalid_request_error", Message: "The prefix of the last message cannot be continued."},
			NoSuchPath:       {Status: 404, Kind: "invalid_request_error", Code: "not_found", Message: "Not Found"},
		},
	},
	SiliconFlow: {
		Name: "SiliconFlow", BasePath: "/v1", shape: Flat, Trace: "X-Siliconcloud-Trace-Id",
		refusals: map[Refusal]Failure{
			WrongKey:      {Status: 401, Code: 401, Message: "Invalid token"},                                      // shape guessed
			UnknownModel:  {Status: 400, Code: 20012, Message: "Model does not exist. Please check it carefully."}, // from memory
			NoMoney:       {Status: 403, Code: 30001, Message: "Sorry, your account balance is insufficient"},
			RateLimited:   {Status: 429, Code: 50604, Message: "Request was rejected due to rate limiting. Details: TPM limit reached."}, // code guessed
			TooManyAtOnce: {Status: 429, Code: 50604, Message: "Request was rejected due to rate limiting. Details: RPM limit reached."}, // guessed
			Throttled:     {Status: 429, Code: 50604, Message: "Request was rejected due to rate limiting. Details: TPM limit reached."}, // code guessed
			TooBusy:       {Status: 503, Code: 50603, Message: "System is really busy. Please try again later."},
			BadBody:       {Status: 400, Code: 20015, Message: "The parameter is invalid. Please check again."},          // from memory
			TooLong:       {Status: 413, Code: 20015, Message: "length of prompt_tokens must be less than max_seq_len."}, // from memory
		},
	},
	Ark: {
		Name: "Ark", BasePath: "/api/v3", shape: Nested,
		refusals: map[Refusal]Failure{ // codes known, messages partly guessed
			NoKey:        {Status: 401, Kind: "Unauthorized", Code: "AuthenticationError", Message: "The API key in the request is missing or invalid."},
			WrongKey:     {Status: 401, Kind: "Unauthorized", Code: "AuthenticationError", Message: "The API key in the request is missing or invalid."},
			UnknownModel: {Status: 404, Kind: "NotFound", Code: "InvalidEndpointOrModel.NotFound", Message: "The model or endpoint {model} does not exist or you do not have access to it."},
			RetiredModel: {Status: 404, Kind: "NotFound", Code: "ModelNotOpen", Message: "Your account has not activated the model {model}."},
			NoMoney:      {Status: 403, Kind: "Forbidden", Code: "AccountOverdueError", Message: "The request failed because your account has an overdue balance."},
			RateLimited:  {Status: 429, Kind: "TooManyRequests", Code: "RateLimitExceeded.EndpointTPMExceeded", Message: "The Tokens Per Minute (TPM) limit of the associated endpoint has been exceeded."},
			Throttled:    {Status: 429, Kind: "TooManyRequests", Code: "RateLimitExceeded.EndpointRPMExceeded", Message: "The Requests Per Minute (RPM) limit of the associated endpoint has been exceeded."},
			TooBusy:      {Status: 429, Kind: "TooManyRequests", Code: "ServerOverloaded", Message: "The service is currently unable to handle additional requests: it is too busy."},
			Broken:       {Status: 500, Kind: "InternalServerError", Code: "InternalServiceError", Message: "The service encountered an unexpected internal error."},
			Filtered:     {Status: 400, Kind: "BadRequest", Code: "SensitiveContentDetected", Message: "The request failed because the input text may contain sensitive information."},
		},
	},
	Bailian: {
		Name: "Bailian", BasePath: "/compatible-mode/v1", shape: Nested,
		Messages: []string{"/apps/anthropic/v1/messages"},
		refusals: map[Refusal]Failure{ // codes known, messages partly guessed
			WrongKey:     {Status: 401, Kind: "invalid_request_error", Code: "invalid_api_key", Message: "Incorrect API key provided."},
			UnknownModel: {Status: 404, Kind: "invalid_request_error", Code: "model_not_found", Message: "The model `{model}` does not exist or you do not have access to it."},
			NoMoney:      {Status: 400, Kind: "Arrearage", Code: "Arrearage", Message: "Access denied, please make sure your account is in good standing."},
			RateLimited:  {Status: 429, Kind: "limit_requests", Code: "limit_requests", Message: "You exceeded your current requests list."},
			Throttled:    {Status: 429, Kind: "insufficient_quota", Code: "insufficient_quota", Message: "You exceeded your current quota, please check your plan and billing details."},
			Filtered:     {Status: 400, Kind: "data_inspection_failed", Code: "data_inspection_failed", Message: "Input data may contain inappropriate content."},
		},
	},
	TokenHub: {Name: "TokenHub", BasePath: "/v1", shape: Nested}, // all guessed
	Qianfan: {
		Name: "Qianfan", BasePath: "/v2", shape: qianfan,
		refusals: map[Refusal]Failure{ // codes known, messages guessed
			NoKey:        {Status: 401, Kind: "invalid_request_error", Code: "invalid_iam_token", Message: "IAM Certification failed"},
			WrongKey:     {Status: 401, Kind: "invalid_request_error", Code: "invalid_iam_token", Message: "IAM Certification failed"},
			UnknownModel: {Status: 401, Kind: "invalid_request_error", Code: "invalid_model", Message: "No permission to use the model {model}"},
			NoMoney:      {Status: 403, Kind: "access_denied", Code: "account_overdue", Message: "The account is overdue"},
			RateLimited:  {Status: 429, Kind: "rate_limit_exceeded", Code: "tpm_rate_limit_exceeded", Message: "Rate limit reached for TPM"},
			Throttled:    {Status: 429, Kind: "rate_limit_exceeded", Code: "cluster_tpm_rate_limit_exceeded", Message: "Rate limit reached for the cluster"},
			Broken:       {Status: 500, Kind: "internal_error", Code: "Internal_error", Message: "Internal error"},
		},
	},
	Azure: {
		Name: "Azure", BasePath: "/openai/v1", shape: Nested, Trace: "Apim-Request-Id",
		refusals: map[Refusal]Failure{ // from memory
			NoKey:        {Status: 401, Code: "401", Message: "Access denied due to invalid subscription key or wrong API endpoint."},
			WrongKey:     {Status: 401, Code: "401", Message: "Access denied due to invalid subscription key or wrong API endpoint."},
			UnknownModel: {Status: 404, Code: "DeploymentNotFound", Message: "The API deployment for this resource does not exist."},
			RateLimited:  {Status: 429, Code: "429", Message: "Requests have exceeded the token rate limit. Please retry later.", Header: []string{"X-Ratelimit-Remaining-Requests", "0"}},
			Filtered:     {Status: 400, Code: "content_filter", Message: "The response was filtered due to the prompt triggering the content management policy."},
		},
	},
	OpenRouter: {
		Name: "OpenRouter", BasePath: "/api/v1", shape: openRouter, Reasoning: true, Trace: "X-Generation-Id",
		Comment: ": OPENROUTER PROCESSING\n\n",
		refusals: map[Refusal]Failure{ // shape known, messages partly guessed
			NoKey:        {Status: 401, Code: 401, Message: "No auth credentials found"},
			WrongKey:     {Status: 401, Code: 401, Message: "User not found."},
			UnknownModel: {Status: 400, Code: 400, Message: "{model} is not a valid model ID"},
			NoMoney:      {Status: 402, Code: 402, Message: "Insufficient credits. Add more using https://openrouter.ai/settings/credits"},
			RateLimited:  {Status: 429, Code: 429, Message: "Rate limit exceeded"},
			TooBusy:      {Status: 503, Code: 503, Message: "No provider is available: all are too busy"},
			Broken:       {Status: 502, Code: 502, Message: "Provider returned error"},
		},
	},
	Together: {
		Name: "Together", BasePath: "/v1", shape: Nested,
		refusals: map[Refusal]Failure{
			NoKey:    {Status: 401, Message: "Missing API key", Plain: true},                                                      // its type is text/plain
			NoMoney:  {Status: 402, Kind: "credit_limit", Message: "Credit limit exceeded, please navigate to the billing page."}, // guessed
			WrongKey: {Status: 401, Kind: "invalid_request_error", Code: "invalid_api_key", Message: "Invalid API key provided."}, // guessed
		},
	},
	Fireworks: {
		Name: "Fireworks", BasePath: "/inference/v1", shape: Nested,
		refusals: map[Refusal]Failure{ // guessed, but for the header
			UnknownModel: {Status: 404, Kind: "error", Code: "NOT_FOUND", Message: "Model not found, inaccessible, and/or not deployed"},
			NoMoney:      {Status: 412, Kind: "error", Code: "PRECONDITION_FAILED", Message: "Account is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices."},
			RateLimited:  {Status: 429, Kind: "error", Code: "RATE_LIMITED", Message: "Rate limit exceeded", Header: []string{"X-Ratelimit-Over-Limit", "yes"}},
		},
	},
	Ollama: {
		Name: "Ollama", BasePath: "/v1", shape: ErrorString, Reasoning: true,
		refusals: map[Refusal]Failure{ // the busy one is known
			UnknownModel: {Status: 404, Message: "model \"{model}\" not found, try pulling it first"},
			WrongKey:     {Status: 401, Message: "unauthorized"},
			TooBusy:      {Status: 503, Message: "server busy, please try again. maximum pending requests exceeded"},
		},
	},
	VLLM: {
		Name: "VLLM", BasePath: "/v1", shape: Nested, Reasoning: true,
		refusals: map[Refusal]Failure{ // shape known, words from memory
			WrongKey:     {Status: 401, Code: 401, Kind: "Unauthorized", Message: "Unauthorized"},
			UnknownModel: {Status: 404, Code: 404, Kind: "NotFoundError", Message: "The model `{model}` does not exist."},
			TooBusy:      {Status: 503, Code: 503, Kind: "ServiceUnavailableError", Message: "The engine is too busy."},
			TooLong:      {Status: 400, Code: 400, Kind: "BadRequestError", Message: "This model's maximum context length is 131072 tokens. However, your request has 140000 input tokens."},
		},
	},
	SGLang: {
		Name: "SGLang", BasePath: "/v1", shape: errorObject,
		refusals: map[Refusal]Failure{ // words guessed
			UnknownModel: {Status: 404, Code: 404, Kind: "NotFoundError", Message: "The model `{model}` does not exist."},
			TooBusy:      {Status: 503, Code: 503, Kind: "ServiceUnavailableError", Message: "The request queue is full: too busy."},
			TooLong:      {Status: 400, Code: 400, Kind: "BadRequestError", Message: "The input is longer than the model's context length (131072 tokens)."},
		},
	},
}

// The shapes of errors.

// Nested has the shape of OpenAI's errors.
func Nested(f Failure) string {
	code := f.Code
	if code == "" {
		code = nil
	}
	return Fields{"error", Fields{"message", f.Message, "type", f.Kind, "param", nil, "code", code}}.JSON()
}

// Flat has the shape of SiliconFlow's errors.
func Flat(f Failure) string {
	return Fields{"code", f.number(), "message", f.Message, "data", nil}.JSON()
}

func qianfan(f Failure) string {
	return Fields{"error", Fields{"code", f.Code, "message", f.Message, "type", f.Kind}, "id", "as-breakwater"}.JSON()
}

func openRouter(f Failure) string {
	return Fields{"error", Fields{"code", f.number(), "message", f.Message, "metadata", Fields{}}}.JSON()
}

// ErrorString has the shape of Ollama's errors.
func ErrorString(f Failure) string { return Fields{"error", f.Message}.JSON() }

func errorObject(f Failure) string {
	return Fields{"object", "error", "message", f.Message, "type", f.Kind, "param", nil, "code", f.number()}.JSON()
}

// number returns the code for a shape in which it must be a number.
func (f Failure) number() int {
	if n, ok := f.Code.(int); ok {
		return n
	}
	return f.Status
}

// Anthropic has the shape that every host's errors have on Messages.
func Anthropic(f Failure) string {
	kind := "api_error"
	switch f.Status {
	case 400, 413:
		kind = "invalid_request_error"
	case 401:
		kind = "authentication_error"
	case 402:
		kind = "billing_error"
	case 403:
		kind = "permission_error"
	case 404:
		kind = "not_found_error"
	case 429:
		kind = "rate_limit_error"
	case 503, 529:
		kind = "overloaded_error"
	}
	return Fields{"type", "error", "error", Fields{"type", kind, "message", f.Message}}.JSON()
}

// Body returns the failure's Content-Type and body in the shape of the host, or in
// Anthropic's if messages is set. An empty type means that there is no Content-Type.
func (f Failure) Body(d Dialect, messages bool) (contentType, body string) {
	switch {
	case f.Plain:
		return "", f.Message
	case messages:
		return "application/json", Anthropic(f)
	}
	return "application/json", d.Row().shape(f)
}
