package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"text/tabwriter"
	"time"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/work"
)

// settleTime is about how long checks and payment take after the last item.
const settleTime = 10 * time.Second

// dryReport is what map --dry-run says. Amounts are in ugtg.
type dryReport struct {
	Items     uint64            `json:"items"`
	Reused    uint64            `json:"reused"`
	Fuel      work.Fuel         `json:"fuel_per_item"` // measured here; 0: unknown, over the probe's bound
	Chunk     string            `json:"chunk"`
	Providers int               `json:"providers"`
	Slots     uint64            `json:"slots"`
	Excluded  map[string]int    `json:"excluded"`
	MinPrice  work.Price        `json:"min_price"`
	Median    work.Price        `json:"median_price"`
	MaxPrice  work.Price        `json:"max_price"` // cap
	Expected  string            `json:"expected"`
	Checks    string            `json:"checks"`
	Permille  uint32            `json:"indexer_permille"` // the indexer's fee, on top of the work
	Escrow    string            `json:"escrow"`
	Eta       float64           `json:"eta_seconds"` // 0: unknown
	Check     *client.CheckPlan `json:"check,omitempty"`
	Readers   client.Readers    `json:"readers"`
	RTT       float64           `json:"rtt_ms"` // between this client and its indexer
	Problem   string            `json:"problem,omitempty"`
}

// dry says what would happen. Nothing is posted, sent or spent.
func (l *launch) dry(ctx context.Context) error {
	if err := l.probe(ctx); err != nil {
		return err
	}
	s, c, err := l.a.openClient(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	r, err := l.request(ctx, c, l.rec)
	if err != nil {
		return err
	}
	p, err := c.Plan(ctx, r)
	if p == nil || err != nil && !errors.Is(err, client.ErrPrice) && !errors.Is(err, client.ErrPlace) {
		return jobError(err)
	}
	d := &dryReport{Items: l.sum.Items, Reused: uint64(len(l.known)), Fuel: l.rec.Fuel, Providers: len(p.Fits), Excluded: p.Excluded,
		Median: p.MedianPrice(), MaxPrice: p.Spec.MaxPrice, Expected: ugtg(p.Expected), Checks: ugtg(p.Checks), Permille: p.Spec.IndexerPermille,
		Escrow: ugtg(p.Spec.Escrow + p.Spec.CheckEscrow), Readers: p.Readers, RTT: float64(p.RTT.Microseconds()) / 1000}
	if err != nil {
		d.Problem = err.Error()
	}
	if len(p.Fits) > 0 {
		d.MinPrice = p.Fits[0].Price
	}
	l.speed(d, p)
	if err == nil && p.Spec.Tier != work.TierNone {
		fuel := l.rec.Fuel
		if fuel == 0 {
			fuel = l.rec.Spec.Limits.Fuel
		}
		cp, cerr := p.CheckPlan(min(l.sum.Items, 100), fuel)
		if cerr != nil {
			return cerr
		}
		d.Check = &cp
	}
	if l.json {
		if perr := l.a.printJSON(d); perr != nil {
			return perr
		}
	} else if perr := l.a.printDry(d, p); perr != nil {
		return perr
	}
	return jobError(err)
}

// speed estimates chunks and time.
func (l *launch) speed(d *dryReport, p *client.Plan) {
	var perSec float64
	for _, o := range p.Fits {
		d.Slots += uint64(o.Slots)
		perSec += float64(o.Slots) * float64(o.FuelPerSec)
	}
	c := l.rec.Chunk
	switch {
	case c.Items > 0:
		d.Chunk = fmt.Sprintf("%d items together", c.Items)
	case c.Seconds > 0:
		d.Chunk = fmt.Sprintf("one item first, then about %d s of work together, less at the end", c.Seconds)
	default:
		d.Chunk = "one item first, then a few seconds of work together, less at the end"
	}
	todo := float64(d.Items - min(d.Reused, d.Items))
	switch {
	case perSec > 0 && d.Fuel > 0: // as measured by the providers
		d.Eta = math.Ceil(todo*float64(d.Fuel)/perSec) + settleTime.Seconds()
	case d.Slots > 0 && l.seconds > 0: // as measured here
		d.Eta = math.Ceil(todo*l.seconds/float64(d.Slots)) + settleTime.Seconds()
	}
}

func (a *app) printDry(d *dryReport, p *client.Plan) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("items", "%d, of which %d are known already", d.Items, d.Reused)
	if d.Fuel > 0 {
		row("fuel", "%s an item (measured on the first one here)", formatFuel(d.Fuel))
	} else {
		row("fuel", "unknown: the first item uses more than %s; at most %s an item is assumed", formatFuel(probeFuel), formatFuel(p.Spec.Limits.Fuel))
	}
	row("chunks", "%s", d.Chunk)
	row("providers", "%d fit, with %d slots", d.Providers, d.Slots)
	for why, n := range d.Excluded {
		row("", "%d %s", n, why)
	}
	if p.Spec.Tier == work.TierNone {
		row("price", "nothing: own providers, off the chain, unchecked")
	} else {
		row("price", "%dugtg to %dugtg a work unit (1e9 fuel), median %dugtg", d.MinPrice, d.MaxPrice, d.Median)
		row("work", "about %s", p.Expected)
		if p.Spec.IndexerPermille > 0 {
			row("indexer", "%d thousandths of the work on top of it", p.Spec.IndexerPermille)
		}
		row("checks", "about %s at most", p.Checks)
		row("escrow", "%s, of a balance of %s; what is not used comes back at the end", p.Spec.Escrow+p.Spec.CheckEscrow, p.Balance)
	}
	if d.Eta > 0 {
		row("time", "about %s, checks included, if all providers are free", (time.Duration(d.Eta) * time.Second).Round(time.Second))
	} else {
		row("time", "unknown")
	}
	if c := d.Check; c != nil {
		row("checks of a batch", "%d of %d items are executed again, by %d checker(s) each (tier %s)", c.Draws, c.Items, c.Checkers, p.Spec.Tier)
		row("a cheat is caught", "%.1f%% if all is faked, %.1f%% if half is, even if it can re-roll %.0f%% of the draws that catch it", float64(c.Detection)/10, float64(c.DetectHalf)/10, float64(c.Reroll)/10)
		row("bond", "%s of its provider's bond answer for such a batch", c.Bond)
		row("a cheat loses", "%s on average against working honestly; %s if it fakes a tenth", c.Loss, c.LossOfTenth)
	}
	row("round trip", "%s", roundTrips(p))
	for i, line := range d.Readers.Lines() {
		row([]string{"who can read it", ""}[min(i, 1)], "%s", line)
	}
	row("spent", "nothing: this was a dry run")
	return w.Flush()
}

// roundTrips says what was measured: what is sent goes over the indexer, so that
// both ways add up.
func roundTrips(p *client.Plan) string {
	var least, most time.Duration
	for _, s := range p.Seen {
		if d := time.Duration(s.RTTMicros) * time.Microsecond; d > 0 {
			most = max(most, d)
			if least == 0 || d < least {
				least = d
			}
		}
	}
	r := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	if most == 0 {
		return fmt.Sprintf("%s to the indexer", r(p.RTT))
	}
	return fmt.Sprintf("%s to the indexer, %s to %s from there to the providers that fit", r(p.RTT), r(least), r(most))
}
