// Package breakwater keeps a program answering while an LLM API fails. It is an
// [http.RoundTripper] for the HTTP client that the program or its SDK already
// has. It knows DeepSeek and the other hosts of DeepSeek's models.
//
// # First steps
//
//	client, err := breakwater.NewClient(
//		breakwater.WithEndpoints(breakwater.DeepSeek(os.Getenv("DEEPSEEK_API_KEY"))),
//		breakwater.WithBackup(breakwater.SiliconFlow(os.Getenv("SILICONFLOW_API_KEY"))),
//	)
//
// Send requests to the URL of the first endpoint, here
// https://api.deepseek.com/chat/completions, or give the client to an SDK with the
// base URL https://api.deepseek.com. The endpoint's key replaces the request's
// key. While DeepSeek cannot answer, SiliconFlow answers the same requests, with
// its own URL, key and model name.
//
// Without endpoints, [NewClient] protects calls to any host. Each request keeps its
// own key, and there is no backup.
//
// # What happens to a call
//
// With these APIs, a status of 200 does not mean that an answer follows. DeepSeek
// sends the status before it queues the request. Streams stall, or are cut and
// closed cleanly. Errors come inside a 200. So breakwater reads the body before it
// returns the response.
//
// A call is one request of the program. An attempt is one request to an endpoint
// on its behalf. Payload is the bytes of a body that carry an answer; keep-alives
// are not payload.
//
//   - Before the first payload, a failed attempt is replaced by another one: at the
//     same endpoint after a wait, or at another endpoint. JSON is checked as a whole
//     before it is returned.
//   - After the first payload, nothing is repeated or left out. If a stream
//     breaks, another attempt continues it where that is possible: see [Rescue].
//     Otherwise the stream ends in an error such as [ErrTruncated], never in a clean
//     EOF.
//   - After several failures, a circuit keeps attempts away from a model of an
//     endpoint. A pause does so for the time that a host asks for, and after it has
//     rejected a key.
//
// A host may bill an attempt whose answer did not arrive. [RetryPolicy].SendOnce
// prevents another attempt then.
//
// # Which calls are protected
//
// Inference calls are protected: a POST whose path ends in /chat/completions,
// /completions, /responses, /embeddings or /v1/messages. Every other request is
// sent once.
//
// Without endpoints, these calls are protected at any host. At a host that
// breakwater does not know, a call other than a chat must name a model.
//
// With endpoints, a call must be meant for one of them. A call is meant for an
// endpoint if its URL has the scheme, host and port of [Endpoint].URL, and a path
// below that of the URL or below another API path of the host. With the client
// above:
//
//   - https://api.deepseek.com/chat/completions and
//     https://api.deepseek.com/anthropic/v1/messages are meant for DeepSeek.
//   - https://api.siliconflow.com/v1/chat/completions is meant for the backup, but
//     DeepSeek still comes first.
//   - https://api.openai.com/v1/chat/completions is meant for neither. It is sent
//     once and not changed.
//
// A GET or HEAD that is meant for an endpoint, such as one of /models, is tried again there,
// and its answer is not looked into. If it fails, the caller gets the host's last answer or,
// if there was none, an error. Without endpoints, that holds for known hosts, and for what
// lies below the paths of an origin that were asked for inference.
//
// Any endpoint may answer a protected call, if its host has the operation, the model
// and what the call needs: see [Feature]. breakwater sets the URL, the key, the model's name, and the fields for
// thinking and the user's id. No other byte of the body changes.
//
// # Deadlines
//
// No time limit of breakwater ends an answer whose payload keeps coming.
//
// If people wait, give the call's context a deadline. A silent endpoint gets at
// most half of it while another one could serve. For batches, give no deadline, and
// set [RetryPolicy].MaxRetryAfter to the longest wait that you accept. Do not set
// [http.Client].Timeout: it also ends answers that are arriving.
//
// # Options
//
// A policy is a struct. A field that is zero has its default, and [Off] switches it
// off.
//
//   - [WithEndpoints], [WithBackup]: which hosts may answer.
//   - [WithCache]: keep answers, and give stale ones while no endpoint answers.
//   - [WithIdempotency]: make a call that is made twice with one Idempotency-Key once.
//   - [WithRateLimit]: stay below the limits of an account.
//   - [WithRetry]: attempts, the waits between them, their budget.
//   - [WithStream]: time limits, hedges, rescues.
//   - [WithBreaker]: when circuits open and close.
//   - [WithBalance]: which endpoint of a tier gets a call.
//   - [WithCall]: options of one call.
//
// # What happened
//
// The response header Breakwater-Endpoint names the endpoint that answered, and
// Breakwater-Outcome says in one word how: see [Outcome]. With a cache, Cache-Status tells whether the answer came from it. [TrailOf] returns the
// attempts of a response, and [Call].Trail those of a call through an SDK: who was asked,
// who was passed over and why, which model answered, and the host's id of the request.
// [WithObserver] with [Log] writes a log. [Transport.Status] returns a snapshot. None
// of these contains keys, prompts or answers.
//
// # When no endpoint answers
//
// The caller gets the host's response that best describes the first failure. If
// there was none, breakwater makes a response that SDKs understand, usually a 503,
// with the header Breakwater-Error. For both, [ErrorOf] returns the [*Error], which
// lists the attempts. With [WithErrors], the call returns the [*Error] instead. The caller's
// cancel and deadline are always Go errors.
//
// # Tests
//
// Package breakwatertest has fake hosts with all these faults. Package storetest
// tests a [Store].
package breakwater
