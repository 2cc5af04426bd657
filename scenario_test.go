package breakwater

import (
	"strings"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The sixteen scenarios, all with one Transport, in virtual time: each ends as
// it should, and its golden timeline is kept.
func TestScenarios(t *testing.T) {
	policy := WithStream(StreamPolicy{FirstToken: 10 * time.Second, Stall: 10 * time.Second, Rescue: RescueRestart})
	for _, sc := range kit.Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			inWorld(t, "primary backup", []Option{policy}, func(w *world) {
				primary, backup := w.fleet.Server("primary"), w.fleet.Server("backup")
				sc.Begin(primary, backup)
				start := time.Now()
				var replies []kit.Reply
				var errs []error
				var ends []time.Time
				for n := range max(sc.Calls, 1) {
					if n > 0 {
						elapse(6 * time.Second)
						sc.Then(n, primary, backup)
					}
					reply, err := w.call("q", sc.Stream)
					replies, errs, ends = append(replies, reply), append(errs, err), append(ends, time.Now())
				}
				w.golden()
				took := ends[0].Sub(start)
				p, b := len(primary.Requests()), len(backup.Requests())
				right := func(i int) bool {
					return errs[i] == nil && replies[i].Content == kit.Answer("q") && replies[i].FinishReason == "stop"
				}
				if !right(0) && sc.Name != "content filter" {
					t.Fatalf("the answer is %+v, %v", replies[0], errs[0])
				}
				bad := func(ok bool, want string) {
					if !ok {
						t.Errorf("%d requests to the primary, %d to the backup, %v: want %s", p, b, took, want)
					}
				}
				switch sc.Name {
				case "429 with Retry-After 2 s":
					bad(p == 2 && b == 0 && took == 2*time.Second, "it waited for on the primary")
				case "429 for ever, without Retry-After":
					bad(p <= 4 && b == 1 && took <= 3*time.Second, "at most 4 attempts in 3 s, then the backup")
				case "500 once":
					bad(p == 2 && b == 0, "the same host again")
				case "503 for ever", "reset before headers":
					bad(b == 1, "the backup")
				case "no response at all":
					bad(p == 1 && b == 1 && took <= 15*time.Second, "one attempt, then the backup within 15 s")
				case "first token after 20 s":
					bad(b == 1 && took < 15*time.Second, "the backup's first token before 15 s")
				case "no terminator":
					bad(p == 1 && b == 0, "one request")
				case "context length":
					bad(p == 1 && b == 1, "it never sent unchanged to the same host")
				case "content filter":
					bad(p == 1 && b == 0 && strings.Contains(sentinel(errs[0]), "400"), "the refusal as it came")
				case "primary down for a minute under 20 calls":
					for i := range replies {
						if !right(i) {
							t.Errorf("call %d: %+v, %v", i+1, replies[i], errs[i])
						}
					}
					last := replies[len(replies)-1]
					bad(last.Fingerprint == "fp_primary" && replies[15].Fingerprint == "fp_primary", "all answered, and back on the primary within 30 s")
				case "the backup's model and usage":
					bad(replies[0].Model == backupModel && replies[0].Fingerprint == "fp_backup" && replies[0].Usage.TotalTokens > 0, "the backup's own words")
				case "cut after 40 of 60 tokens", "silent stall after 20 tokens", "malformed tenth event", "cut, and the backup rejects the prefix":
					// Its timeline says it all.
				default:
					t.Error("no test knows this scenario")
				}
			})
		})
	}
}
