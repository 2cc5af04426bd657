package exchange

import (
	"fmt"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Failure says why an exchange gave no answer. It is an error that the layers
// above pass on. A layer that does not send a request returns one as well.
type Failure struct {
	Class   outcome.Class  // empty: the host has said why, in Body, and the owner has to read it
	Status  int            // of the response, or the one that an error inside a 200 stands for; 0: there was none
	Resp    *http.Response // the response, in memory; nil: there is nothing worth showing
	Usable  bool           // Resp is an answer, although a flawed one: better than none
	Empty   bool           // a 200 brought nothing, so that Resp is breakwater's own
	Refused bool           // the status is a refusal; not an error inside a 200
	Open    bool           // the body of Resp was not read: see Decline
	Body    []byte         // the body of a refusal, or the error inside a 200
	Early   bool           // the caller's deadline ended it; the host may not have had enough time
	Err     error

	// The owner sets these.
	RetryAfter  time.Duration // 0: none
	Asked       bool          // the host asked for RetryAfter
	NoRetry     bool          // the call must not ask the same account again
	PassThrough bool          // the caller has to act on Resp by itself, even if others could serve
	Blameless   bool          // the host is not to blame
	CallersKey  bool          // the key that was refused is the caller's own
	KeepsTier   bool          // a limit of the user's own ended it, so the call must not go to a worse tier instead
}

func (f *Failure) Error() string { return string(f.Class) }

func (f *Failure) Unwrap() error { return f.Err }

// showError is show for an error inside a stream where JSON was asked for.
func (f *Failure) showError(resp *http.Response) *Failure {
	label := "text/plain"
	if looksLikeJSON(f.Body) {
		label = "application/json"
	}
	setType(resp, label)
	return f.show(resp, f.Status, f.Body)
}

// show makes a 200 that is no answer the response to show, with the status that it
// stands for.
func (f *Failure) show(resp *http.Response, status int, body []byte) *Failure {
	setMemory(resp, body)
	resp.StatusCode = status
	resp.Status = fmt.Sprintf("%d %s", status, http.StatusText(status))
	f.Status, f.Resp, f.Empty = status, resp, len(body) == 0
	return f
}

// showAsItCame makes a response that claims to be a stream the response to show. Its body ends in
// f's error.
func (f *Failure) showAsItCame(resp *http.Response, body []byte) *Failure {
	f.Resp = resp
	resp.Body = InMemory(body, f.Err)
	clearLength(resp)
	return f
}
