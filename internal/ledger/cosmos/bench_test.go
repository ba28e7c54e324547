package cosmos_test

import (
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
)

// BenchmarkSubmit sends from several accounts at once, each transaction waited for.
func BenchmarkSubmit(b *testing.B) {
	n := startNode(b, initHome(b))
	c := cosmos.New(n.Client())
	defer c.Close()
	addKeys(c)
	b.SetParallelism(200)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if _, err := c.Submit(b.Context(), address(byte(client+i%6)), ledger.Send{To: address(poor), Amount: 1}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txs/s")
}
