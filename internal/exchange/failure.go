package exchange

import (
	"fmt"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Failure is an exchange that gave no answer. It travels as an error up the
// layers. A layer that does not let the request pass says so with one, too.
type Failure struct {
	// Class is empty where only the host's own words, Said, can tell: the owner
	// has to find it out then.
	Class   outcome.Class
	Status  int            // of the response, or what an error inside a 200 stands for; 0: nothing came
	Resp    *http.Response // what came, in memory; nil: nothing worth showing
	Empty   bool           // nothing came but a 200: the status of Resp is of breakwater's own making
	Refused bool           // by the status, not inside a 200
	Said    []byte         // what the host said of it: the body of a refusal, or an error inside a 200
	Early   bool           // the caller's deadline ended it, maybe before the host had its time
	Err     error

	// The owner finds out what follows.
	RetryAfter time.Duration // 0: none asked for
	Asked      bool          // the host asked for RetryAfter
	AsCame     bool          // Resp is the caller's to act on, whoever else could serve
	Blameless  bool          // it is no failure of the host
}

func (f *Failure) Error() string { return string(f.Class) }

func (f *Failure) Unwrap() error { return f.Err }

// show keeps a 200 that is no answer as the response of the status it stands
// for. One that brought nothing becomes an answer of breakwater's own.
func (f *Failure) show(resp *http.Response, status int, body []byte) *Failure {
	setMemory(resp, body)
	resp.StatusCode = status
	resp.Status = fmt.Sprintf("%d %s", status, http.StatusText(status))
	f.Status, f.Resp, f.Empty = status, resp, len(body) == 0
	return f
}
