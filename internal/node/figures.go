package node

import (
	"context"
	"time"

	"github.com/gotong-network/gotong/internal/disk"
	"github.com/gotong-network/gotong/internal/metrics"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/version"
)

// figuresTimeout bounds what a figure waits for a busy role.
const figuresTimeout = time.Second

// figures has the node's figures read from its parts' own snapshots.
func (n *Node) figures() {
	m := n.cfg.Metrics
	if m == nil {
		return
	}
	m.ReadLedger(n.cfg.Ledger)
	m.Read(func(set metrics.Setter) {
		set("info", 1, version.String(), n.cfg.Chain)
		set("reach", 1, string(n.net.Reach().Kind))
		if size, err := n.blobs.Size(); err == nil {
			set("blob_store_bytes", float64(size))
		}
		if free, _, err := disk.Space(n.cfg.Dir); err == nil {
			set("disk_free_bytes", float64(free))
		}
	})
	if n.prov != nil {
		m.Read(n.providerFigures)
	}
	if n.governor != nil {
		m.Read(func(set metrics.Setter) {
			s := n.governor.Status()
			set("limit_cpu_percent", s.CPULimitPercent, "allowed")
			set("limit_cpu_percent", s.CPUUsedPercent, "used")
			set("limit_memory_bytes", float64(s.MemoryLimit), "allowed")
			set("limit_memory_bytes", float64(s.MemoryUsed), "used")
		})
	}
	if n.index != nil {
		m.Read(n.indexerFigures)
	}
}

func (n *Node) providerFigures(set metrics.Setter) {
	s := n.prov.Status()
	set("provider_slots", float64(s.Slots), "all")
	set("provider_slots", float64(s.SlotsAllowed), "allowed")
	set("provider_slots", float64(s.SlotsUsed), "used")
	paused := 0.0
	if s.State != provider.Idle && s.State != provider.Working {
		paused = 1
	}
	set("provider_paused", paused)
	set("provider_items", float64(s.ItemsQueued), "queued")
	set("provider_items", float64(s.ItemsRunning), "running")
	set("provider_items", float64(s.ItemsUncommitted), "uncommitted")
	set("provider_batches_open", float64(s.BatchesOpen))
	set("provider_receipts_undelivered", float64(s.Undelivered))
	set("provider_price_ugtg", float64(s.Price))
	set("provider_fuel_per_second", float64(s.FuelPerSec))
}

func (n *Node) indexerFigures(set metrics.Setter) {
	ctx, cancel := context.WithTimeout(context.Background(), figuresTimeout)
	defer cancel()
	s, err := n.index.Snapshot(ctx)
	if err != nil {
		return // it begins, ends, or is too busy to tell: a gap in the figures says so
	}
	set("indexer_offers", float64(s.Offers))
	set("indexer_providers_connected", float64(s.Connected))
	set("indexer_jobs", float64(s.Jobs))
	set("indexer_watchers", float64(s.Watchers))
	for _, v := range []struct {
		state string
		n     uint64
	}{{"waiting", s.Waiting}, {"running", s.Assigned}, {"provisional", s.Provisional}, {"verified", s.Verified}, {"failed", s.Failed}} {
		set("indexer_items", float64(v.n), v.state)
	}
}
