package breakwatertest

import "net/http"

const noError = 0

func (x *exchange) goAway(last, code uint32) bool         { return false }
func (x *exchange) breakOff(piece string)                 { x.abort() }
func (x *exchange) refuseContinue(r *http.Request) func() { return func() {} }
