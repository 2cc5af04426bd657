// Package breakwatertest provides fake LLM hosts for tests. A test can switch
// their faults on and off while it runs.
//
// A [Fleet] has one [Server] for each [Host]. Give the program under test the URL of
// a Server in place of the real host's URL, and break the Server:
//
//	fleet, err := breakwatertest.NewFleet(
//		breakwatertest.DeepSeek("primary"),
//		breakwatertest.SiliconFlow("backup"),
//	)
//	if err != nil {
//		t.Fatal(err)
//	}
//	defer fleet.Close()
//	fleet.Server("primary").Break(breakwatertest.Busy())
//
// [NewFleet] listens on TCP ports of 127.0.0.1. [NewPipeFleet] keeps everything in
// memory, so that a test can run in a testing/synctest bubble, where ten minutes take
// no time. Both serve the same handler.
//
// The faults that hosts show most often:
//
//   - [Refused], [Reset], [BlackHole]: the network fails, or the host is silent.
//   - [Busy], [ServerError], [TooManyRequests], [ConcurrencyLimit]: the host refuses
//     a request for some time.
//   - [Unauthorized], [Overdue], [ModelNotFound]: it refuses all requests of the key
//     or the model.
//   - [QueueForever], [Silence]: a 200, but no answer.
//   - [ErrorInside], [HTMLInside], [EmptyInside], [CutJSON]: a 200 without a right
//     answer.
//   - [CutStream], [EndStream], [StallStream], [ErrorFrame]: a stream breaks.
//
// Every answer shows which request it belongs to. [Answer] computes it from the
// last user message alone, and system_fingerprint names the host that gave it. So
// a test can tell a right answer from one that is cut, repeated or another's.
//
// Every host answers on each [Wire]: chat completions, completions, responses and
// messages. [Wire.Request] makes a request, and [ReadAnswer] reads the response.
// [Personas] returns all kinds of hosts. Each has its own base path and its own
// error messages. Host.TLS and Host.HTTP2 make a host use https, on TCP and in
// memory; [Fleet.Transport] trusts its certificate.
//
// Below /beta, a DeepSeek host continues an answer whose beginning it gets in a
// last message {"role":"assistant","content":"…","prefix":true}. It sends the rest
// of [Answer]. It refuses a prefix that does not begin that answer, and any prefix
// outside /beta. Other hosts ignore the prefix and answer from the beginning.
//
// [Faults] returns one of each fault that does not need a special request, for
// tests that should survive them all.
//
// [Server.Expect] says what the hosts think of the client: whether it retried too
// early, took half an answer for a whole one, or leaked a key.
//
// [Record] writes what real hosts send to text files without keys, and [Replay] plays
// them.
package breakwatertest
