// Package breakwater keeps an application answering while an LLM API fails. It
// provides an [http.RoundTripper] for the HTTP client that the application
// already has. It knows DeepSeek and the other hosts that serve its models.
//
//	client, err := breakwater.NewClient(
//		breakwater.WithEndpoints(breakwater.DeepSeek(os.Getenv("DEEPSEEK_API_KEY"))),
//		breakwater.WithBackup(breakwater.SiliconFlow(os.Getenv("SILICONFLOW_API_KEY"))),
//	)
//
// # Bodies, not headers
//
// With these APIs, a status of 200 does not mean that an answer follows.
// DeepSeek sends the status first and queues the request afterwards. While it is
// queued, the host sends blank lines or SSE comments, for minutes. Streams stall,
// or are cut and closed cleanly. Errors come inside a 200. So breakwater reads the
// body before it returns the response.
//
// The payload is the bytes of a body that carry an answer. The commit is the
// moment when an attempt has brought its first payload and the caller gets the
// response. JSON of up to [StreamPolicy].MaxBuffer is read and checked as a whole
// before the commit. Before the commit the caller has received nothing, so another
// attempt can replace one that fails. After the commit nothing is repeated or left
// out. If a streamed chat breaks after the commit, another attempt continues it
// where a host can do that: see [Rescue]. Otherwise the stream ends in a typed
// error, never in a clean EOF.
//
// # Words
//
// An endpoint is one base URL with one key. Endpoints of one account share a
// quota. A tier is a group of endpoints that share the load. A call is one
// request of the application, and an attempt is one request to one endpoint on
// its behalf. A circuit stops attempts at one model of an endpoint after
// failures. A pause stops attempts at an endpoint, an account or a model for some
// time, because the host asked for it or refused a request. A hedge is a second
// attempt beside a slow one. A rescue is an attempt that continues a broken
// stream.
//
// # What is protected
//
// Inference calls are protected: a POST to …/chat/completions, …/completions
// (FIM), …/responses, …/v1/messages or …/embeddings, JSON and streaming. Any
// other request is sent once. If it is meant for an endpoint, it gets the
// endpoint's key and headers; otherwise it is not changed.
//
// Without endpoints, [New] protects the calls to any origin, with the caller's
// own credential. At a host that breakwater does not know, a call other than a chat
// must name a model in its body.
//
// With endpoints, it protects the calls that are meant for one of them. A call is
// meant for an endpoint if its URL has the scheme, host and port of
// [Endpoint].URL, and a path below that of the URL or below another API path of
// the host. With the client above, a POST to
// https://api.deepseek.com/chat/completions is meant for DeepSeek. Any endpoint
// may answer it, if its host has the operation and the model. The endpoints of
// [WithEndpoints] share the load. Those of [WithBackup] are for the time when no
// endpoint of a higher tier can answer.
//
// For each endpoint, breakwater sets the URL and the key. In the body it changes
// the model's name and the fields for thinking and for the user's id, where the
// host has its own. Every other byte of the body stays as it was. There is a
// preset for each host that serves DeepSeek's models, from [DeepSeek] to [VLLM].
// Any other OpenAI-compatible host is an [Endpoint] with its URL.
//
// # Layers
//
// A call passes the user's middleware, the cache and the failover, which makes
// attempts. An attempt passes the rate limits, the circuit breaker, the gate that
// checks the response, the user's attempt middleware and the base transport. Each
// layer has a policy, a struct whose zero value is the default. [Off] switches a
// field off.
//
//   - [CachePolicy]: gives kept answers again to the same caller, and stale ones
//     when no endpoint can answer. Off by default.
//   - [RatePolicy]: limits attempts and tokens per account and model. Off by
//     default.
//   - [BalancePolicy]: chooses the endpoint of a tier.
//   - [BreakerPolicy]: opens and closes the circuits.
//   - [RetryPolicy]: sets the number of attempts, the waits between them, and the
//     budget for extra attempts.
//   - [StreamPolicy]: limits the time without payload, and sets hedges and rescues.
//
// # Which to set
//
// The defaults suit an interactive application. Set more where you need it:
//
//   - People wait for the answer: give the call's context a deadline. A silent
//     host gets at most half of it while another endpoint could serve.
//   - Batches: give no deadline, and set [RetryPolicy].MaxRetryAfter to the
//     longest wait you accept.
//   - The account has a known limit: set [RatePolicy].InFlight to your share of
//     it. If the limit is unknown or changes, set [RatePolicy].Adaptive.
//   - A call must not be billed twice: set [RetryPolicy].SendOnce.
//   - Latency matters more than tokens: set [StreamPolicy].Hedge.
//
// # Time
//
// No time limit of breakwater ends an answer that is arriving. Before the commit,
// FirstToken, Thinking and Queued of [StreamPolicy] limit the time without
// payload, but only while another endpoint or a kept answer could serve. Otherwise
// the attempt keeps waiting, because a new one would go to the end of the host's
// queue. After the commit, Stall limits the time without payload. Keep-alives are
// not payload.
//
// Backoff, Retry-After, rate limits and probes make a call wait. Such a wait ends
// with the caller's context. It does not begin if it could not end before the
// caller's deadline.
//
// # The cache
//
// [WithCache] keeps complete answers for the caller who asked. A later call with
// the same content gets the kept answer, as JSON or as a stream; the order of the
// fields does not matter. Calls with the same content that are under way share
// one attempt. An answer is fresh for [CachePolicy].TTL and stale afterwards. When
// no endpoint can answer, a call gets a stale answer, for [CachePolicy].StaleIfError
// after TTL. A [Store] keeps answers for several processes.
//
// A shared attempt that brings nothing does not block its callers for good. After
// some time, a caller makes an attempt of its own and waits for both. The first
// answer goes to all callers. That time is FirstToken for streams, Thinking for
// models that think and for JSON, Queued for JSON from DeepSeek, and Stall after
// the first payload; where one of these is Off, its default counts. A caller with
// a deadline waits at most half of the time it had left, but at least a second.
// So a host that is down gets at most one request a second for the same content,
// and seldom has more than six open at once. [Call].NoShare keeps a call from
// sharing.
//
// # When no endpoint answers
//
// The caller gets the host's response that best describes the first failure. If
// there was no response, breakwater makes one: a 503 (429 for a local limit) in
// the error shape of OpenAI, or of Anthropic for Messages, with the header
// Breakwater-Error. For such a response, [ErrorOf] returns an [*Error] with every
// attempt. With [WithErrors] the call returns the [*Error] instead.
// X-Should-Retry: false tells an SDK not to try again. The caller's own cancel
// and deadline are always returned as Go errors.
//
// A stream that breaks and is not rescued ends in [ErrTruncated], [ErrStalled] or
// [ErrBadResponse] instead of EOF. ErrTruncated is also an [io.ErrUnexpectedEOF].
//
// # What may be billed twice
//
// A host may bill an attempt that it received but did not answer. breakwater
// tries again nevertheless, because the caller has no answer.
// [Attempt].MayBeBilled marks such attempts. [RetryPolicy].SendOnce forbids the
// second one.
//
// # Contract
//
// A Transport is safe for concurrent use and keeps the contract of
// [http.RoundTripper]: it does not change the caller's request, closes its body
// on every path, and returns either a response or an error. A base transport must
// keep the contract, too: it gets headers and URLs that are shared, unless the
// user has given attempt middleware or Rewrite. The caller must close response
// bodies. [Transport.Close] stops background work.
//
// # Watching it
//
// An Observer of [WithObserver] gets an [Event] for each attempt, wait, pause,
// and change of a circuit, and for what the cache does. [Log] writes events to a
// slog.Logger. [TrailOf] returns the attempts of a response, and [Call].Trail
// those of a call made through an SDK. [Transport.Status] returns a snapshot.
// None of them contains keys, prompts or answers.
//
// Package breakwatertest has fake hosts that show all these faults, for your own
// tests.
package breakwater
