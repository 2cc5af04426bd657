package mistake

import (
	"strings"
	"testing"
	"time"
)

// A number without its unit is named with the one that was meant; what may be meant is not.
func TestMistake_Units(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{30, "did you mean 30s?"}, {300, "did you mean 5m0s?"}, {1, "did you mean 1s?"}, {10_000, "did you mean 10s?"},
		{Least, ""}, {time.Second, ""}, {0, ""}, {-1, ""},
	} {
		if got := Duration(tt.d); got != tt.want {
			t.Errorf("Duration(%d) = %q, want %q", tt.d, got, tt.want)
		}
	}
	for n, want := range map[int64]string{8: "did you mean 8 MiB (8 << 20)?", 1023: "did you mean 1023 MiB (1023 << 20)?", 1024: "", 0: "", -1: ""} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

// No text quotes what may be a key.
func TestMistake_QuotesNoKey(t *testing.T) {
	for _, key := range []string{"sk-5ec4e7", "5ec4e7.AbCdEf", "eyJ5ec4e7.eyJ5ec4e7.5ec4e7", "bce-v3/ALTAK/5ec4e7", "ab+/5ec4e7==", `"sk-5ec4e7"`, "Bearer sk-5ec4e7", "KEY_A=5ec4e7", "5ec4e7:x@b.example"} {
		for _, got := range []string{Key(key), Key(key + "\n"), Scheme(key), Region(key)} {
			if strings.Contains(got, "5ec4e7") {
				t.Errorf("%q is quoted: %s", key, got)
			}
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("Bearer sk-5ec4e7")
	f.Fuzz(func(t *testing.T, key string) {
		if got := Key("5ec4e7" + key); strings.Contains(got, "5ec4e7") {
			t.Errorf("%q is quoted: %s", key, got)
		}
	})
}
