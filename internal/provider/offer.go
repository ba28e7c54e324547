package provider

import (
	"context"
	"time"

	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Gossip costs every node that hears it: offers are this far apart at least, and
// a smaller move of the load is not worth one.
const (
	offerPause = time.Second
	// A message that is published before the mesh of a fresh connection has formed
	// reaches nobody: the first offers follow each other at once, then ever slower.
	firstPause  = 100 * time.Millisecond
	minLoadMove = 100
)

// offer publishes the standing offer: at once, every OfferInterval, and when the
// load has moved.
func (p *Provider) offer(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	var last time.Time
	var told work.Offer // the last one
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-p.loadMoved:
			load, slots := p.loadNow()
			if slots == told.Slots && max(load, told.Load)-min(load, told.Load) < minLoadMove {
				continue
			}
			if wait := offerPause - time.Since(last); wait > 0 {
				t.Reset(wait)
				continue
			}
		}
		o := p.Offer(time.Now())
		for _, topic := range p.OfferTopics {
			if err := p.Net.Publish(ctx, topic, o.Encode()); err != nil && ctx.Err() == nil {
				p.log.Warn("cannot publish the offer: trying again", "topic", topic, "err", err)
			}
		}
		last, told = time.Now(), *o
		t.Reset(min(pause, p.OfferInterval))
		pause = min(2*pause, p.OfferInterval)
	}
}

// Offer is what the provider offers now.
func (p *Provider) Offer(now time.Time) *work.Offer {
	load, slots := p.loadNow()
	o := &work.Offer{
		Chain: p.Chain, Provider: p.Account, Owner: p.Owner, Addrs: p.Net.Self().Addrs, Class: p.Class, Region: p.Region,
		Slots: slots, MemoryBytes: p.memory(), FuelPerSec: work.Fuel(p.rate.Load()),
		Price: match.AskingPrice(p.MinPrice, p.MaxPrice, load), Load: load,
		Sequence: uint64(now.UnixNano()), ExpiresUnix: now.Add(p.OfferLifetime + time.Second - 1).Unix(), // whole seconds, no less
		Hardware: p.Hardware, Attestations: p.attested(now),
	}
	o.Sign(p.Key)
	return o
}

// attested are the attestations that count for p's key now, as many as an offer
// holds.
func (p *Provider) attested(now time.Time) []work.Attestation {
	if p.Attestations == nil {
		return nil
	}
	var out []work.Attestation
	for _, a := range p.Attestations() {
		if len(out) < work.MaxAttestations && a.Holds(p.Key.Public(), []sign.PublicKey{a.Attester}, now.Unix()) {
			out = append(out, a)
		}
	}
	return out
}

// loadNow is the busy share of the open slots in permille, and how many those are;
// work that waits counts as a busy slot. Without an open slot the offer stands for
// results only: nothing is assigned to it.
func (p *Provider) loadNow() (permille, slots uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loadLocked()
}

func (p *Provider) loadLocked() (permille, slots uint32) {
	open := uint64(p.offeredLocked())
	if open == 0 {
		return 1000, 0
	}
	return uint32(min(open, uint64(p.busy)+p.queued) * 1000 / open), uint32(open)
}

func (p *Provider) priceLocked() work.Price {
	load, _ := p.loadLocked()
	return match.AskingPrice(p.MinPrice, p.MaxPrice, load)
}

// memory is what items get of it, all slots together; 0: unstated.
func (p *Provider) memory() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.allowed.MemoryBytes; a > 0 && (p.MemoryBytes == 0 || a < p.MemoryBytes) {
		return a
	}
	return p.MemoryBytes
}

// measure keeps the fuel per second of a slot, smoothed.
func (p *Provider) measure(fuel work.Fuel, d time.Duration) {
	if fuel == 0 || d < time.Millisecond {
		return // too short to tell
	}
	now := float64(fuel) / d.Seconds()
	if old := float64(p.rate.Load()); old > 0 {
		now = 0.9*old + 0.1*now
	}
	p.rate.Store(uint64(now))
}
