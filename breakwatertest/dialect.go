package breakwatertest

import (
	"fmt"
	"strings"
)

// A Dialect is a host's form of errors and extra fields.
type Dialect int

const (
	// DialectDeepSeek thinks by default and sends x-ds-trace-id.
	DialectDeepSeek Dialect = iota
	// DialectOpenAI answers an unknown model with 404 model_not_found.
	DialectOpenAI
	// DialectSiliconFlow has flat errors: {"code":…,"message":…,"data":null}.
	DialectSiliconFlow
	// DialectArk has codes in PascalCase, and answers 403 to an account in debt.
	DialectArk
	// DialectBailian answers 429 insufficient_quota at a rate limit that ends within
	// a minute, and 400 Arrearage to an account in debt.
	DialectBailian
	// DialectTokenHub is like DialectOpenAI, as far as we know.
	DialectTokenHub
	// DialectQianfan has an id beside the error, and answers 403 account_overdue.
	DialectQianfan
	// DialectAzure sends retry-after-ms beside Retry-After.
	DialectAzure
	// DialectOpenRouter has the status as a number in error.code, and metadata.
	DialectOpenRouter
	// DialectTogether answers a missing key in plain text.
	DialectTogether
	// DialectFireworks is like DialectOpenAI, with a few codes of its own.
	DialectFireworks
	// DialectOllama has a string as the error.
	DialectOllama
	// DialectVLLM has the status as a number in error.code.
	DialectVLLM
	// DialectSGLang has flat errors: {"object":"error","message":…,"code":400}.
	DialectSGLang
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	if !d.known() {
		return fmt.Sprintf("Dialect(%d)", int(d))
	}
	return d.row().name
}

func (d Dialect) known() bool { return d >= 0 && int(d) < len(dialects) }

func (d Dialect) row() *dialect { return &dialects[d] }

// A refusal is a reason not to answer. Each host has its own message for it.
type refusal int

const (
	noKey refusal = iota
	wrongKey
	unknownModel
	retiredModel
	noMoney
	rateLimited
	tooManyAtOnce
	throttled
	tooBusy
	broken
	badBody
	tooLong
	filtered
	reasoningMissing
	prefixOutsideBeta
	prefixRejected
	noSuchPath
)

// A dialect is one row of the table: everything in which a host differs from others.
type dialect struct {
	name      string
	basePath  string // the persona's Host.BasePath
	shape     func(failure) string
	thinks    bool     // it thinks unless the request disables that
	reasoning bool     // its field is called "reasoning", not "reasoning_content"
	cached    bool     // its usage reports cached tokens
	comment   string   // the keep-alive of a queued stream; "": the usual one
	trace     string   // the header with the request's id; "": none
	messages  []string // the paths of Messages, if they are not below the base path
	refusals  map[refusal]failure
}

// A failure is one refusal as a host sends it. Its message may have placeholders:
// {model} for the requested model, {models} for the models that exist, {key} for
// the end of the key, {n} for a number and {n+1} for the next number.
type failure struct {
	status  int
	code    any // a string, or an int
	kind    string
	message string
	header  []string // names and values, alternating
	plain   bool     // the body is the message as plain text, without a Content-Type
}

// words finds the refusal in the dialect. If the host's own message is not known,
// it guesses that the host sends OpenAI's.
func (d Dialect) words(r refusal) failure {
	if f, ok := d.row().refusals[r]; ok {
		return f
	}
	f := DialectOpenAI.row().refusals[r]
	if _, number := d.row().refusals[tooBusy].code.(int); number {
		f.code = f.status
	}
	return f
}

func (f failure) fill(pairs ...string) failure {
	f.message = strings.NewReplacer(pairs...).Replace(f.message)
	return f
}

// dialects is indexed by Dialect. The messages are verbatim unless a comment says
// otherwise.
var dialects = []dialect{
	DialectDeepSeek: {
		name: "DeepSeek", shape: nested, thinks: true, cached: true, trace: "X-Ds-Trace-Id",
		messages: []string{"/anthropic/v1/messages"},
		refusals: map[refusal]failure{
			noKey:        {status: 401, message: "Authentication Fails (governor)", plain: true},
			wrongKey:     {status: 401, kind: "authentication_error", code: "invalid_request_error", message: "Authentication Fails, Your api key: ****{key} is invalid"},
			unknownModel: {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "The supported API model names are {models}, but you passed {model}."},
			retiredModel: {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you passed {model}."},
			noMoney:      {status: 402, kind: "unknown_error", code: "invalid_request_error", message: "Insufficient Balance"},
			tooManyAtOnce: {status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", // kind and code are guessed
				message: "Your current concurrency is {n+1}, which exceeds your concurrency limit of {n} based on your remaining balance. Please top up your balance to restore your concurrency."},
			tooBusy:          {status: 503, kind: "service_unavailable_error", code: "service_unavailable_error", message: "Service is too busy."},
			badBody:          {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "Failed to deserialize the JSON body into the target type"},
			reasoningMissing: {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "The `reasoning_content` in the thinking mode must be passed back to the API."},
			// From memory.
			tooLong:  {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "This model's maximum context length is 1048576 tokens. However, you requested 1048999 tokens (1044903 in the messages, 4096 in the completion). Please reduce the length of the messages or completion."},
			filtered: {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "Content Exists Risk"},
			// We know what these mean, but we made up the messages.
			prefixOutsideBeta: {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "A message with prefix is only available in beta: set the base URL to https://api.deepseek.com/beta."},
		},
	},
	DialectOpenAI: {
		name: "OpenAI", basePath: "/v1", shape: nested, trace: "X-Request-Id",
		// The other hosts fall back to these. The messages are partly guessed.
		refusals: map[refusal]failure{
			noKey:            {status: 401, kind: "invalid_request_error", message: "You didn't provide an API key."},
			wrongKey:         {status: 401, kind: "invalid_request_error", code: "invalid_api_key", message: "Incorrect API key provided: ****{key}."},
			unknownModel:     {status: 404, kind: "invalid_request_error", code: "model_not_found", message: "The model `{model}` does not exist or you do not have access to it."},
			retiredModel:     {status: 404, kind: "invalid_request_error", code: "model_not_found", message: "The model `{model}` has been deprecated."},
			noMoney:          {status: 429, kind: "insufficient_quota", code: "insufficient_quota", message: "You exceeded your current quota, please check your plan and billing details."},
			rateLimited:      {status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", message: "Rate limit reached, please slow down."},
			tooManyAtOnce:    {status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", message: "Too many requests at once: the limit is {n}."},
			throttled:        {status: 429, kind: "insufficient_quota", code: "insufficient_quota", message: "You exceeded your current quota, please check your plan and billing details."},
			tooBusy:          {status: 503, kind: "server_error", code: "service_unavailable", message: "The server is currently overloaded: the service is too busy. Please try again later."},
			broken:           {status: 500, kind: "server_error", code: "internal_error", message: "Internal server error, please try again later."},
			badBody:          {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "We could not parse the JSON body of your request."},
			tooLong:          {status: 400, kind: "invalid_request_error", code: "context_length_exceeded", message: "This model's maximum context length is 131072 tokens. However, your messages resulted in 140000 tokens. Please reduce the length of the messages."},
			filtered:         {status: 400, kind: "invalid_request_error", code: "content_filter", message: "The prompt was filtered by the content management policy."},
			reasoningMissing: {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "The `reasoning_content` in the thinking mode must be passed back to the API."},
			prefixRejected:   {status: 400, kind: "invalid_request_error", code: "invalid_request_error", message: "The prefix of the last message cannot be continued."},
			noSuchPath:       {status: 404, kind: "invalid_request_error", code: "not_found", message: "Not Found"},
		},
	},
	DialectSiliconFlow: {
		name: "SiliconFlow", basePath: "/v1", shape: flat, trace: "X-Siliconcloud-Trace-Id",
		refusals: map[refusal]failure{
			wrongKey:      {status: 401, code: 401, message: "Invalid token"},                                      // shape guessed
			unknownModel:  {status: 400, code: 20012, message: "Model does not exist. Please check it carefully."}, // from memory
			noMoney:       {status: 403, code: 30001, message: "Sorry, your account balance is insufficient"},
			rateLimited:   {status: 429, code: 50604, message: "Request was rejected due to rate limiting. Details: TPM limit reached."}, // code guessed
			tooManyAtOnce: {status: 429, code: 50604, message: "Request was rejected due to rate limiting. Details: RPM limit reached."}, // guessed
			throttled:     {status: 429, code: 50604, message: "Request was rejected due to rate limiting. Details: TPM limit reached."}, // code guessed
			tooBusy:       {status: 503, code: 50603, message: "System is really busy. Please try again later."},
			badBody:       {status: 400, code: 20015, message: "The parameter is invalid. Please check again."},          // from memory
			tooLong:       {status: 413, code: 20015, message: "length of prompt_tokens must be less than max_seq_len."}, // from memory
		},
	},
	DialectArk: {
		name: "Ark", basePath: "/api/v3", shape: nested,
		refusals: map[refusal]failure{ // codes known, messages partly guessed
			noKey:        {status: 401, kind: "Unauthorized", code: "AuthenticationError", message: "The API key in the request is missing or invalid."},
			wrongKey:     {status: 401, kind: "Unauthorized", code: "AuthenticationError", message: "The API key in the request is missing or invalid."},
			unknownModel: {status: 404, kind: "NotFound", code: "InvalidEndpointOrModel.NotFound", message: "The model or endpoint {model} does not exist or you do not have access to it."},
			retiredModel: {status: 404, kind: "NotFound", code: "ModelNotOpen", message: "Your account has not activated the model {model}."},
			noMoney:      {status: 403, kind: "Forbidden", code: "AccountOverdueError", message: "The request failed because your account has an overdue balance."},
			rateLimited:  {status: 429, kind: "TooManyRequests", code: "RateLimitExceeded.EndpointTPMExceeded", message: "The Tokens Per Minute (TPM) limit of the associated endpoint has been exceeded."},
			throttled:    {status: 429, kind: "TooManyRequests", code: "RateLimitExceeded.EndpointRPMExceeded", message: "The Requests Per Minute (RPM) limit of the associated endpoint has been exceeded."},
			tooBusy:      {status: 429, kind: "TooManyRequests", code: "ServerOverloaded", message: "The service is currently unable to handle additional requests: it is too busy."},
			broken:       {status: 500, kind: "InternalServerError", code: "InternalServiceError", message: "The service encountered an unexpected internal error."},
			filtered:     {status: 400, kind: "BadRequest", code: "SensitiveContentDetected", message: "The request failed because the input text may contain sensitive information."},
		},
	},
	DialectBailian: {
		name: "Bailian", basePath: "/compatible-mode/v1", shape: nested,
		messages: []string{"/apps/anthropic/v1/messages"},
		refusals: map[refusal]failure{ // codes known, messages partly guessed
			wrongKey:     {status: 401, kind: "invalid_request_error", code: "invalid_api_key", message: "Incorrect API key provided."},
			unknownModel: {status: 404, kind: "invalid_request_error", code: "model_not_found", message: "The model `{model}` does not exist or you do not have access to it."},
			noMoney:      {status: 400, kind: "Arrearage", code: "Arrearage", message: "Access denied, please make sure your account is in good standing."},
			rateLimited:  {status: 429, kind: "limit_requests", code: "limit_requests", message: "You exceeded your current requests list."},
			throttled:    {status: 429, kind: "insufficient_quota", code: "insufficient_quota", message: "You exceeded your current quota, please check your plan and billing details."},
			filtered:     {status: 400, kind: "data_inspection_failed", code: "data_inspection_failed", message: "Input data may contain inappropriate content."},
		},
	},
	DialectTokenHub: {name: "TokenHub", basePath: "/v1", shape: nested}, // all guessed
	DialectQianfan: {
		name: "Qianfan", basePath: "/v2", shape: qianfan,
		refusals: map[refusal]failure{ // codes known, messages guessed
			noKey:        {status: 401, kind: "invalid_request_error", code: "invalid_iam_token", message: "IAM Certification failed"},
			wrongKey:     {status: 401, kind: "invalid_request_error", code: "invalid_iam_token", message: "IAM Certification failed"},
			unknownModel: {status: 401, kind: "invalid_request_error", code: "invalid_model", message: "No permission to use the model {model}"},
			noMoney:      {status: 403, kind: "access_denied", code: "account_overdue", message: "The account is overdue"},
			rateLimited:  {status: 429, kind: "rate_limit_exceeded", code: "tpm_rate_limit_exceeded", message: "Rate limit reached for TPM"},
			throttled:    {status: 429, kind: "rate_limit_exceeded", code: "cluster_tpm_rate_limit_exceeded", message: "Rate limit reached for the cluster"},
			broken:       {status: 500, kind: "internal_error", code: "Internal_error", message: "Internal error"},
		},
	},
	DialectAzure: {
		name: "Azure", basePath: "/openai/v1", shape: nested, trace: "Apim-Request-Id",
		refusals: map[refusal]failure{ // from memory
			noKey:        {status: 401, code: "401", message: "Access denied due to invalid subscription key or wrong API endpoint."},
			wrongKey:     {status: 401, code: "401", message: "Access denied due to invalid subscription key or wrong API endpoint."},
			unknownModel: {status: 404, code: "DeploymentNotFound", message: "The API deployment for this resource does not exist."},
			rateLimited:  {status: 429, code: "429", message: "Requests have exceeded the token rate limit. Please retry later.", header: []string{"X-Ratelimit-Remaining-Requests", "0"}},
			filtered:     {status: 400, code: "content_filter", message: "The response was filtered due to the prompt triggering the content management policy."},
		},
	},
	DialectOpenRouter: {
		name: "OpenRouter", basePath: "/api/v1", shape: openRouter, reasoning: true, trace: "X-Generation-Id",
		comment: ": OPENROUTER PROCESSING\n\n",
		refusals: map[refusal]failure{ // shape known, messages partly guessed
			noKey:        {status: 401, code: 401, message: "No auth credentials found"},
			wrongKey:     {status: 401, code: 401, message: "User not found."},
			unknownModel: {status: 400, code: 400, message: "{model} is not a valid model ID"},
			noMoney:      {status: 402, code: 402, message: "Insufficient credits. Add more using https://openrouter.ai/settings/credits"},
			rateLimited:  {status: 429, code: 429, message: "Rate limit exceeded"},
			tooBusy:      {status: 503, code: 503, message: "No provider is available: all are too busy"},
			broken:       {status: 502, code: 502, message: "Provider returned error"},
		},
	},
	DialectTogether: {
		name: "Together", basePath: "/v1", shape: nested,
		refusals: map[refusal]failure{
			noKey:    {status: 401, message: "Missing API key", plain: true},                                                      // its type is text/plain
			noMoney:  {status: 402, kind: "credit_limit", message: "Credit limit exceeded, please navigate to the billing page."}, // guessed
			wrongKey: {status: 401, kind: "invalid_request_error", code: "invalid_api_key", message: "Invalid API key provided."}, // guessed
		},
	},
	DialectFireworks: {
		name: "Fireworks", basePath: "/inference/v1", shape: nested,
		refusals: map[refusal]failure{ // guessed, but for the header
			unknownModel: {status: 404, kind: "error", code: "NOT_FOUND", message: "Model not found, inaccessible, and/or not deployed"},
			noMoney:      {status: 412, kind: "error", code: "PRECONDITION_FAILED", message: "Account is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices."},
			rateLimited:  {status: 429, kind: "error", code: "RATE_LIMITED", message: "Rate limit exceeded", header: []string{"X-Ratelimit-Over-Limit", "yes"}},
		},
	},
	DialectOllama: {
		name: "Ollama", basePath: "/v1", shape: errorString, reasoning: true,
		refusals: map[refusal]failure{ // the busy one is known
			unknownModel: {status: 404, message: "model \"{model}\" not found, try pulling it first"},
			wrongKey:     {status: 401, message: "unauthorized"},
			tooBusy:      {status: 503, message: "server busy, please try again. maximum pending requests exceeded"},
		},
	},
	DialectVLLM: {
		name: "VLLM", basePath: "/v1", shape: nested, reasoning: true,
		refusals: map[refusal]failure{ // shape known, words from memory
			wrongKey:     {status: 401, code: 401, kind: "Unauthorized", message: "Unauthorized"},
			unknownModel: {status: 404, code: 404, kind: "NotFoundError", message: "The model `{model}` does not exist."},
			tooBusy:      {status: 503, code: 503, kind: "ServiceUnavailableError", message: "The engine is too busy."},
			tooLong:      {status: 400, code: 400, kind: "BadRequestError", message: "This model's maximum context length is 131072 tokens. However, your request has 140000 input tokens."},
		},
	},
	DialectSGLang: {
		name: "SGLang", basePath: "/v1", shape: errorObject,
		refusals: map[refusal]failure{ // words guessed
			unknownModel: {status: 404, code: 404, kind: "NotFoundError", message: "The model `{model}` does not exist."},
			tooBusy:      {status: 503, code: 503, kind: "ServiceUnavailableError", message: "The request queue is full: too busy."},
			tooLong:      {status: 400, code: 400, kind: "BadRequestError", message: "The input is longer than the model's context length (131072 tokens)."},
		},
	},
}

// The shapes of errors.

func nested(f failure) string {
	code := f.code
	if code == "" {
		code = nil
	}
	return fields{"error", fields{"message", f.message, "type", f.kind, "param", nil, "code", code}}.json()
}

func flat(f failure) string {
	return fields{"code", f.number(), "message", f.message, "data", nil}.json()
}

func qianfan(f failure) string {
	return fields{"error", fields{"code", f.code, "message", f.message, "type", f.kind}, "id", "as-breakwater"}.json()
}

func openRouter(f failure) string {
	return fields{"error", fields{"code", f.number(), "message", f.message, "metadata", fields{}}}.json()
}

func errorString(f failure) string { return fields{"error", f.message}.json() }

func errorObject(f failure) string {
	return fields{"object", "error", "message", f.message, "type", f.kind, "param", nil, "code", f.number()}.json()
}

// number returns the code for a shape in which it must be a number.
func (f failure) number() int {
	if n, ok := f.code.(int); ok {
		return n
	}
	return f.status
}

// anthropic has the shape that every host's errors have on Messages.
func anthropic(f failure) string {
	kind := "api_error"
	switch f.status {
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
	return fields{"type", "error", "error", fields{"type", kind, "message", f.message}}.json()
}
