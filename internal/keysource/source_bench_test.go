package keysource

import (
	"context"
	"testing"
	"time"
)

func BenchmarkGet(b *testing.B) {
	s := New(func(context.Context, string) (string, error) { return "sk-a", nil })
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(ctx, now, ""); err != nil {
			b.Fatal(err)
		}
	}
}
