package drill

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// The words of timelines are the faults of package chaos, with the same arguments. The hosts of an
// embedded fleet fail in these ways themselves, as far as breakwatertest knows the fault. Where it
// does not, and in front of real endpoints, chaos breaks the requests.

// hostFaults are the faults that a fake host has itself.
var hostFaults = map[chaos.Fault]func(chaos.Rule) kit.Fault{
	chaos.Refused:        plain(kit.Refused),
	chaos.NoSuchHost:     plain(kit.NoSuchHost),
	chaos.BadCertificate: plain(kit.BadCertificate),
	chaos.Reset:          plain(kit.Reset),
	chaos.BlackHole:      plain(kit.BlackHole),

	chaos.Latency: func(r chaos.Rule) kit.Fault { return kit.SlowHeaders(r.Delay) },

	chaos.TooManyRequests: func(r chaos.Rule) kit.Fault { return kit.TooManyRequests(retryAfter(r)) },
	chaos.QuotaThrottle:   plain(kit.QuotaThrottle),
	chaos.ServerError:     plain(kit.ServerError),
	chaos.Unauthorized:    plain(kit.Unauthorized),
	chaos.Overdue:         plain(kit.Overdue),
	chaos.ModelNotFound:   plain(kit.ModelNotFound),
	chaos.ContextLength:   plain(kit.ContextLength),
	chaos.ContentFilter:   plain(kit.ContentFilter),
	chaos.Busy:            plain(kit.Busy),

	chaos.QueueForever:   plain(kit.QueueForever),
	chaos.Silence:        plain(kit.Silence),
	chaos.ErrorInside:    plain(kit.ErrorInside),
	chaos.HTMLInside:     plain(kit.HTMLInside),
	chaos.EmptyInside:    plain(kit.EmptyInside),
	chaos.CutJSON:        plain(kit.CutJSON),
	chaos.MalformedJSON:  plain(kit.MalformedJSON),
	chaos.CutStream:      after(kit.CutStream),
	chaos.EndStream:      after(kit.EndStream),
	chaos.StallStream:    after(kit.StallStream),
	chaos.StallKeepAlive: after(kit.StallKeepAlive),
	chaos.ErrorFrame:     after(kit.ErrorFrame),
	chaos.MalformedEvent: after(kit.MalformedEvent),
}

func plain(f func() kit.Fault) func(chaos.Rule) kit.Fault {
	return func(chaos.Rule) kit.Fault { return f() }
}

func after(f func(int) kit.Fault) func(chaos.Rule) kit.Fault {
	return func(r chaos.Rule) kit.Fault { return f(r.After) }
}

// hostFault returns the fault that a fake host has itself. A host has only faults that all
// requests meet.
func hostFault(a Act) (kit.Fault, bool) {
	r := a.Rule
	made, ok := hostFaults[r.Fault]
	if !ok || a.someOnly() || r.RetryAfter > 0 && r.Fault != chaos.TooManyRequests || r.KeepAlive > 0 {
		return kit.Fault{}, false
	}
	return made(r), true
}

// faultNamed returns a fault of the vocabulary.
func faultNamed(name string) (chaos.FaultInfo, bool) {
	for _, f := range chaos.Faults() {
		if string(f.Fault) == name {
			return f, true
		}
	}
	return chaos.FaultInfo{}, false
}

// retryAfter is the value of the header, in whole seconds.
func retryAfter(r chaos.Rule) string {
	if r.RetryAfter <= 0 {
		return ""
	}
	return strconv.Itoa(int((r.RetryAfter + time.Second - 1) / time.Second))
}

// String says what happens: the fault with its arguments.
func (a Act) String() string {
	var details []string
	r := a.Rule
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"delay", r.Delay}, {"queue", r.Queue}, {"first token", r.FirstToken}, {"per token", r.PerToken}, {"retry after", r.RetryAfter}} {
		if d.v > 0 {
			details = append(details, fmt.Sprintf("%s %v", d.name, d.v))
		}
	}
	for _, d := range []struct {
		name string
		n    int
	}{{"", r.Status}, {"after", r.After}, {"limit", r.Limit}, {"bytes a second", r.BytesPerSecond}} {
		if d.n > 0 {
			details = append(details, strings.TrimSpace(fmt.Sprintf("%s %d", d.name, d.n)))
		}
	}
	if r.Probability > 0 && r.Probability < 1 {
		details = append(details, percentText(r.Probability)+" of requests")
	}
	details = append(details, slices.Concat(r.Match.Models, r.Match.Operations)...)
	if of := r.Match.Stream; of != nil {
		details = append(details, map[bool]string{true: "streams", false: "JSON"}[*of])
	}
	if len(details) == 0 {
		return string(r.Fault)
	}
	return fmt.Sprintf("%s (%s)", r.Fault, strings.Join(details, ", "))
}

// someOnly reports that only some requests meet the fault.
func (a Act) someOnly() bool {
	return a.Rule.Probability > 0 && a.Rule.Probability < 1 || len(a.Rule.Match.Models)+len(a.Rule.Match.Operations) > 0 || a.Rule.Match.Stream != nil
}

// detectable reports whether all calls meet the fault, so that a client can be expected to keep
// calls away from the host. Of streams that end early, JSON calls know nothing.
func (a Act) detectable(l Load) bool {
	return !a.someOnly() && (a.Rule.Fault != chaos.EndStream || l.Streams == 1)
}
