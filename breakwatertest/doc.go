// Package breakwatertest is a fleet of fake LLM hosts whose faults can be switched
// on and off while a test runs.
//
// A [Fleet] holds one [Server] per [Host]. [NewFleet] listens on real TCP ports
// of 127.0.0.1; [NewPipeFleet] keeps everything in memory, so a test can run in
// a testing/synctest bubble and let ten minutes pass in no time. Both serve the
// same handler.
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
// Every answer proves which request it belongs to: [Answer] derives it from the
// last user message alone, and system_fingerprint names the host that gave it.
// So a test can tell a right answer from a mixed-up, cut or doubled one.
//
// Every host answers on each [Wire]: chat completions, completions, responses and
// messages; [Wire.Request] makes a request and [ReadAnswer] reads what came.
// [Personas] are the hosts there are, each with its own base path and its own words
// for what it refuses. Host.TLS and Host.HTTP2 put a host behind https, on either
// network; [Fleet.Transport] trusts its certificate.
//
// Below /beta a DeepSeek host goes on with an answer whose beginning it is given, in
// a last message {"role":"assistant","content":"…","prefix":true}: what it says is the
// rest of [Answer]. It refuses what does not begin that answer, and every such message
// elsewhere. Other hosts do not know of it and answer from the beginning.
//
// [Faults] lists one of each fault that any request shows, for tests that want to survive them all.
package breakwatertest
