package exchange

import (
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Failure is an exchange that gave no answer. It travels as an error up the
// layers. A layer that does not let the request pass says so with one, too.
type Failure struct {
	Class      outcome.Class
	Status     int            // of the response, or what an error inside a 200 stands for; 0: nothing came
	RetryAfter time.Duration  // 0: none asked for
	Asked      bool           // for RetryAfter
	Resp       *http.Response // what came, in memory; nil: nothing worth showing
	Empty      bool           // nothing came but a 200: the status of Resp is of breakwater's own making
	Said       []byte         // the body of a refusal
	Refused    bool           // by the status, not inside a 200
	AsCame     bool           // Resp is the caller's to act on, whoever else could serve
	Blameless  bool           // it is no failure of the host
	Err        error
}

func (f *Failure) Error() string { return string(f.Class) }

func (f *Failure) Unwrap() error { return f.Err }
