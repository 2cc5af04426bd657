// Package breakwater keeps an application answering while the LLM API behind
// it misbehaves. It is an [http.RoundTripper] to put under the client you
// already have, in front of DeepSeek and other hosts that serve its models.
//
//	client, err := breakwater.NewClient(
//		breakwater.WithEndpoints(breakwater.DeepSeek(os.Getenv("DEEPSEEK_API_KEY"))),
//		breakwater.WithBackup(breakwater.SiliconFlow(os.Getenv("SILICONFLOW_API_KEY"))),
//	)
//
// # One fact
//
// For this API a response is not good because its headers arrived. DeepSeek
// answers 200 first and queues the request then, sending blank lines or SSE
// comments for minutes; streams stall or are cut and closed cleanly; errors
// come inside a 200. So breakwater judges bodies: nothing reaches the caller
// before the first payload, the bytes that carry an answer, and until then any
// failure can still be answered by another attempt. That moment is the commit.
// Behind it nothing is repeated or lost: a streamed chat that breaks is gone on
// from, where a host can ([Rescue]), or ends in a typed error, never in a clean
// EOF.
//
// # What is protected
//
// Inference: a POST to …/chat/completions, …/completions (FIM), …/responses,
// …/v1/messages or …/embeddings, JSON and streaming. All else passes through
// once, as it is, with the endpoint's key if it is meant for one.
//
// [New] without endpoints protects the calls to whatever origin each request
// names, with the caller's own credential. With endpoints, a call meant for any
// of them is served by whichever can: the endpoints of [WithEndpoints] share
// the load, those of [WithBackup] stand in while none above can serve, if their
// host has the operation and the model. The operation is carried over to where
// the endpoint has it; the model's name, and the fields that say whether to
// think and for whom, are replaced by the host's own; every other byte of the
// body stays as it was. There is a preset for each host that serves DeepSeek's
// models, from [DeepSeek] to [VLLM]; any OpenAI-compatible host is an
// [Endpoint] with its URL.
//
// # Layers
//
// A call passes the user's middleware, the cache and the failover loop; each of
// its attempts passes the limits, the circuit breaker, the gate that judges,
// the user's attempt middleware and the base. Every layer is set by a plain
// struct whose zero value is the documented default; [Off] switches a field off.
//
//   - [CachePolicy]: answers again what the same caller asked before; stale,
//     when no endpoint can answer. Off unless given.
//   - [RatePolicy]: attempts, tokens and answers under way, per account and
//     model. Off unless given.
//   - [BalancePolicy]: which endpoint of a tier gets a call.
//   - [BreakerPolicy]: a circuit per model and endpoint.
//   - [RetryPolicy]: attempts, backoff, patience and the budget of retries.
//   - [StreamPolicy]: the clocks on payload, before and behind the commit, and
//     the rescue of streams that break.
//
// # Which to set
//
// The defaults suit an interactive application. For one that answers people,
// give the call's context a deadline: half of it is the most that a silent host
// gets while another could serve. For batches, give none, and let
// [RetryPolicy].MaxRetryAfter be what you can wait. Where the account's limit is
// known, set [RatePolicy].InFlight to your share of it; where it is not, or
// moves, [RatePolicy].Adaptive finds it. Where a call must not be billed twice,
// [RetryPolicy].SendOnce. Where seconds matter more than tokens,
// [StreamPolicy].Hedge.
//
// # Time
//
// No clock ends an answer that is coming. Before the commit, FirstToken,
// Thinking and Queued of [StreamPolicy] bound how long an attempt may show
// nothing, but only while another endpoint could serve: else its place in the
// host's queue is worth more than a new one. Behind it, Stall bounds the time
// without payload. Keep-alives are no payload. Waits (backoff, Retry-After,
// limits, probes) end with the caller's context, and none is begun that could
// not end before its deadline.
//
// # The cache
//
// [WithCache] keeps whole answers, as bytes, in the scope of who asked. A call
// for the same, whatever the order of its fields, is answered as it wants to be,
// JSON or stream; calls for the same that are under way share one attempt, live.
// When no endpoint can answer, what is past its time is given for
// [CachePolicy].StaleIfError. A [Store] keeps answers for several processes.
//
// A shared call that shows nothing does not hold its question for good. Who has
// waited for it, or comes to it, when it has shown nothing for as long as such a
// call may (FirstToken for streams, Thinking where the model thinks and for JSON,
// Queued for DeepSeek's JSON; Stall behind the first payload; their defaults
// where they are Off), asks anew, once, and goes on waiting for both; with a
// deadline, after half of the time he came with, but no sooner than after a
// second. The first answer is everybody's. So a host that is down gets at most
// one call a second for one question, and seldom more than six at once.
// [Call].NoShare keeps a call to itself.
//
// # When nobody answers
//
// The caller gets the response that says most about the first trouble, as the
// host sent it, or, where there never was one, an answer of breakwater's own:
// 503 (429 for a local limit) in OpenAI's error shape, or Anthropic's on its
// wire, with the header Breakwater-Error. [ErrorOf] returns the [*Error] behind
// it, with every attempt; [WithErrors] has it returned as a Go error instead.
// X-Should-Retry: false tells the SDK above not to multiply attempts. The
// caller's own cancel and deadline are always Go errors.
//
// A stream that breaks and cannot be rescued ends in [ErrTruncated],
// [ErrStalled] or [ErrBadResponse] in place of EOF; the first of them is an
// [io.ErrUnexpectedEOF] for code that knows no better.
//
// # What may be billed twice
//
// An attempt that reached a host and ended without an answer may have been
// billed. breakwater tries again all the same, since the caller has no answer;
// [Attempt].MayBeBilled says where, and [RetryPolicy].SendOnce forbids it.
//
// # Contract
//
// A Transport is safe for concurrent use and keeps the contract of
// [http.RoundTripper]: it does not change the caller's request, closes its body
// on every path, and returns either a response or an error. It holds the bases
// below to the same: they are given headers and URLs that are shared, unless
// attempt middleware or Rewrite stands between. Response bodies must be closed.
// [Transport.Close] ends what a Transport does by itself: the cache's renewals,
// writes to a [Store], idle connections.
//
// # Watching it
//
// [WithObserver] is told of every attempt, wait, pause, circuit and cache
// event; [Log] writes them to a slog.Logger; [TrailOf] returns the attempts
// behind a response, and [Call].Trail those of a call made through an SDK;
// [Transport.Status] is a snapshot. Keys, prompts and answers appear in none of
// them.
//
// The package breakwatertest has fake hosts with every fault named here, for
// tests of your own.
package breakwater
