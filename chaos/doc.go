// Package chaos breaks requests on purpose, in front of hosts that work. It is a middleware
// for an http.RoundTripper: directly above the transport that sends requests, so that
// breakwater, or any other client, meets what a sick host would send.
//
//	injector, err := chaos.New(chaos.Config{
//		Seed: 1,
//		Rules: []chaos.Rule{
//			{Fault: chaos.Busy, Probability: 0.3},
//			{Fault: chaos.StallStream, After: 3, From: time.Minute, Until: 2 * time.Minute},
//		},
//	})
//	client, err := breakwater.NewClient(
//		breakwater.WithAttemptMiddleware(injector.Middleware), // or WithBase(injector.Middleware(base))
//		…
//	)
//
// # Which requests
//
// A [Rule] says what happens, to which requests, and when. Rules are asked in their order. The
// faults that only slow an answer add up. Of all others, a request meets the first one.
//
// # Which hosts
//
// Without [Config.Allow], chaos breaks only hosts that cannot be real: loopback addresses,
// localhost, and names below .localhost, .test, .invalid and .example, which RFC 2606 and
// RFC 6761 reserve. [New] refuses rules that name another host. A request to another host
// passes untouched, even if a rule would match it. [Stats.Protected] counts it,
// [Config.OnProtected] is told, and by default a warning is logged, once for each host. An
// address of a private network may be a server that people use, so it has to be allowed, too.
//
// # Which faults come again
//
// Each rule counts the requests that match it while it acts, without those that met a fault of
// an earlier rule. Whether the n-th request meets the fault is a function of [Config.Seed], the
// rule's name and n. So the same requests in the same order meet the same faults. Requests that
// run at the same time may come in another order. Then other requests meet the fault, but just
// as many. [Rule.Share] depends on the request's body instead, so the order does not matter.
//
// Nothing in a response shows that a fault was injected. [Injector.Stats] and [Config.OnHit]
// tell the author of a test.
package chaos
