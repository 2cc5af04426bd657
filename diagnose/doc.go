// Package diagnose finds out what is broken between a program and an LLM API, and says what to
// do.
//
//	report := diagnose.Run(ctx, breakwater.DeepSeek(key))
//	fmt.Println(report.Verdict, report.Summary)
//	for _, f := range report.Findings {
//		fmt.Println(f.Code, f.Seen, f.Means, f.Next)
//	}
//
// Run looks at the connection first: proxy variables, DNS, TCP and TLS of each address. Then it
// asks the host for what is free, with the endpoint's own key, as a [breakwater.Transport] would:
// its models and, where the host tells it, the balance of the account. With [WithSpend] it also
// asks for an answer in JSON and one as a stream, which cost a few tokens.
//
// A stage that fails does not hide what can still be tried: if one resolver fails, the addresses
// of the others are tried; if one address fails, the others are.
//
// A key goes where the endpoint would send it, and only over a connection whose certificate is
// right, unless the transport of [WithTransport] verifies none. A [Report] contains no key, no
// prompt and no answer.
package diagnose
