package limit

import (
	"context"
	"testing"
)

// What a turn costs while nobody waits: with tenants, it is noted who has used what.
func BenchmarkTurn(b *testing.B) {
	for name, use := range map[string]Use{"plain": {}, "tenant": {Caller: Caller{Tenant: "tenant", Priority: Batch}}} {
		b.Run(name, func(b *testing.B) {
			l, ctx := of(Policy{InFlight: 100, PerSecond: 1e9, Burst: 1e9, TokensPerMinute: 1e9}), context.Background()
			b.ReportAllocs()
			for b.Loop() {
				var lease Lease
				if err := l.Acquire(ctx, &lease, use); err != nil {
					b.Fatal(err)
				}
				lease.End(Result{Served: true})
			}
		})
	}
}
