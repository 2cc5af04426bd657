package outcome

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// constants returns the constants of type Class that class.go declares.
func constants(t *testing.T) map[string]Class {
	file, err := parser.ParseFile(token.NewFileSet(), "class.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]Class)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Class" {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found[spec.Names[0].Name] = Class(value)
		return true
	})
	return found
}

// A class without a row would silently imply nothing.
func TestClass_EachHasARow(t *testing.T) {
	named := make(map[Class]string)
	for name, class := range constants(t) {
		if other := named[class]; other != "" {
			t.Errorf("%s and %s are both %q", name, other, class)
		}
		named[class] = name
		if _, ok := table[class]; !ok {
			t.Errorf("%s has no row in the table", name)
		}
	}
	for class := range table {
		if named[class] == "" {
			t.Errorf("the row of %q has no constant", class)
		}
	}
	if len(table) == 0 {
		t.Error("the table is empty")
	}
}

// What the circuit is told of every class.
func TestClass_Outcomes(t *testing.T) {
	want := map[Class]Outcome{
		OK: Success, Filtered: Success, Refused: Success,
		Deadline: Failure, Unreachable: Failure, Unavailable: Failure, Redirected: Failure, BadResponse: Failure,
		NoFirstToken: Failure, Stalled: Failure, Truncated: Failure,
		Canceled: Neutral, RateLimited: Neutral, KeyRejected: Neutral, NoFunds: Neutral, Blocked: Neutral, Unsuited: Neutral, NoModel: Neutral,
		Flawed: Neutral, Outrun: Neutral, Rewrite: Neutral, NoKey: Neutral, CircuitOpen: Neutral, Limited: Neutral, Spent: Neutral, Paused: Neutral, NotCached: Neutral, Unserved: Neutral,
		IdempotencyInvalid: Neutral, IdempotencyReused: Neutral,
	}
	for class := range table {
		if _, ok := want[class]; !ok {
			t.Errorf("the test says nothing of %s", class)
		}
		if got := Of(class).Outcome; got != want[class] {
			t.Errorf("%s counts as %d, want %d", class, got, want[class])
		}
	}
}

// What the columns of a row say together must make sense, also for a class that
// is added one day.
func TestClass_RowsAreConsistent(t *testing.T) {
	for class, row := range table {
		for _, rule := range []struct {
			broken bool
			text   string
		}{
			{row.Passing && !row.OfFleet, "is passing, and no failure of the fleet"},
			{row.Local && !row.OfFleet, "is local, and no failure of the fleet"},
			{row.Local && row.Outcome != Neutral, "was not sent, and counts for the circuit"},
			{row.Local && row.Passing, "was not sent, and could be tried again"},
			{row.Local && row.Answered, "was not sent, and was answered"},
			{row.RetryLast != RetryNever && !row.Passing, "is retried, and does not pass"},
			{row.TimedOut && row.Outcome != Failure, "timed out, and is no failure"},
			{row.Outcome == Success && (row.Passing || row.OfFleet), "is a success and a failure"},
			{row.Fault == FaultCaller && (row.Passing || row.OfFleet), "ends the call, which could go on"},
			{row.EarnsPause && row.Pause == ScopeNone, "earns a pause of nothing"},
			{row.Pause != ScopeNone && row.Quarantine != ScopeNone, "pauses twice"},
			{row.Quarantine != ScopeNone && row.Passing, "needs a person, and passes by itself"},
			{row.Fault == FaultKey && row.Quarantine == ScopeNone, "is the key's fault, and the key is used again"},
			{row.overload != never && row.Pause == ScopeNone, "shows an overload, and the host cannot ask for a pause"},
		} {
			if rule.broken {
				t.Errorf("%s %s: %+v", class, rule.text, row)
			}
		}
	}
}

func TestClass_UnknownImpliesNothing(t *testing.T) {
	for _, class := range []Class{"", "ok ", "nonsense"} {
		if got := Of(class); got != (Traits{}) {
			t.Errorf("Of(%q) = %+v, want nothing", class, got)
		}
		if Overloaded(class, 503) {
			t.Errorf("Overloaded(%q, 503) = true", class)
		}
	}
}

func TestClass_Overloaded(t *testing.T) {
	for _, tt := range []struct {
		class  Class
		status int
		want   bool
	}{
		{RateLimited, 429, true},
		{RateLimited, 402, true}, // by the host's words
		{Unavailable, 503, true},
		{Unavailable, 529, true},
		{Unavailable, 500, false},
		{Unavailable, 0, false},
		{Limited, 429, false},
		{OK, 503, false},
	} {
		if got := Overloaded(tt.class, tt.status); got != tt.want {
			t.Errorf("Overloaded(%s, %d) = %v, want %v", tt.class, tt.status, got, tt.want)
		}
	}
}
