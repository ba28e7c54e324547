package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
)

func newSupplyCommand(a *app) *cobra.Command {
	var o supplyOptions
	c := &cobra.Command{
		Use:   "supply",
		Short: "Show all money, what was minted and burned, how busy the pool is, and what a work unit takes",
		Long: "Shows the supply and where it lies, what entered and left it since genesis, and whether the chain's\n" +
			"books agree: it adds up all its money when asked.\n\n" +
			"The pool's load is what providers say in their offers. Energy is an estimate: the power of one slot\n" +
			"under load (--watts, by default 10 W: a server core with its share of memory and power supply) times\n" +
			"the time that a work unit takes at the speed that providers measured. Nothing measures power.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runSupply(c.Context(), a, o) },
	}
	c.Flags().Float64Var(&o.watts, "watts", 10, "power of one busy slot, for the estimate of energy")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

type supplyOptions struct {
	watts float64
	json  bool
}

// supplyView is `supply --json`; amounts are in ugtg.
type supplyView struct {
	Height        int64  `json:"height"`
	Total         string `json:"total"`
	Escrowed      string `json:"escrowed"`
	Bonded        string `json:"bonded"`
	Unvested      string `json:"unvested"`
	CommonsPool   string `json:"commons_pool"`
	Elsewhere     string `json:"elsewhere"`  // accounts, validators' stakes and fees, deposits
	Minted        string `json:"minted"`     // for paid work
	MintBound     string `json:"mint_bound"` // today's κ × fee burn
	MintedCommons string `json:"minted_commons"`
	FeeBurn       string `json:"fee_burn"`
	SlashBurn     string `json:"slash_burn"`
	// Conserved: the chain added up every account, escrow, bond and pot, and it is
	// the supply.
	Conserved bool   `json:"conserved"`
	Problem   string `json:"problem,omitempty"`

	Pool   *poolView   `json:"pool,omitempty"`   // nil: the indexer does not tell
	Energy *energyView `json:"energy,omitempty"` // nil: no provider says its speed
}

// poolView is how busy the providers with a valid offer are.
type poolView struct {
	Providers   int     `json:"providers"`
	Slots       uint64  `json:"slots"`
	Busy        float64 `json:"busy"`        // slots
	Utilisation float64 `json:"utilisation"` // share of slots, 0 to 1; work of the commons does not count
	FuelPerSec  uint64  `json:"fuel_per_sec"`
}

// energyView is an estimate.
type energyView struct {
	Estimate      string  `json:"estimate"` // how it was made
	WattsPerSlot  float64 `json:"watts_per_slot"`
	JoulesPerUnit float64 `json:"joules_per_unit"` // mean of the pool, by speed
	Least         float64 `json:"least"`           // of the fastest provider
	Most          float64 `json:"most"`            // of the slowest
	KWhPerMillion float64 `json:"kwh_per_million_units"`
}

// conserver is a chain that can add up all its money.
type conserver interface {
	Conserved(ctx context.Context) (ok bool, difference string, err error)
}

func runSupply(ctx context.Context, a *app, o supplyOptions) error {
	if !(o.watts > 0 && o.watts < 10_000) {
		return usagef("--watts %g: want the power of one slot, more than 0 and less than 10,000", o.watts)
	}
	s, err := a.reach(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	v, err := viewSupply(ctx, s.Ledger)
	if err != nil {
		return err
	}
	if err := a.openPeers(ctx, s); err == nil {
		if offers, err := s.offers(ctx); err == nil {
			v.Pool, v.Energy = viewPool(offers, o.watts)
		}
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	if o.json {
		return a.printJSON(v)
	}
	return a.printSupply(v)
}

// viewSupply asks the chain about its money.
func viewSupply(ctx context.Context, chain ledger.Reader) (*supplyView, error) {
	m, err := chain.Supply(ctx)
	st, err1 := chain.Status(ctx)
	p, err2 := chain.Params(ctx)
	if err := errors.Join(err, err1, err2); err != nil {
		return nil, err
	}
	bound, err := work.MulDiv(m.FeeBurn, p.MintPermille, 1000)
	if err != nil {
		return nil, err
	}
	held := m.Escrowed + m.Bonded + m.Unvested + m.CommonsPool
	v := &supplyView{
		Height: st.Height, Total: ugtg(m.Total), Escrowed: ugtg(m.Escrowed), Bonded: ugtg(m.Bonded), Unvested: ugtg(m.Unvested), CommonsPool: ugtg(m.CommonsPool),
		Elsewhere: ugtg(m.Total - min(held, m.Total)), Minted: ugtg(m.Minted), MintBound: ugtg(bound), MintedCommons: ugtg(m.MintedCommons),
		FeeBurn: ugtg(m.FeeBurn), SlashBurn: ugtg(m.SlashBurn), Conserved: true,
	}
	if c, ok := chain.(conserver); ok {
		if v.Conserved, v.Problem, err = c.Conserved(ctx); err != nil {
			return nil, err
		}
	}
	if held > m.Total {
		v.Conserved, v.Problem = false, "more is held than there is"
	}
	return v, nil
}

// viewPool adds up offers.
func viewPool(offers []*work.Offer, watts float64) (*poolView, *energyView) {
	p := &poolView{}
	e := &energyView{Estimate: "power of a busy slot (assumed) × time of a work unit at the speed that providers measured", WattsPerSlot: watts}
	newest := map[work.Address]*work.Offer{}
	for _, o := range offers {
		if old := newest[o.Provider]; old == nil || old.Sequence < o.Sequence {
			newest[o.Provider] = o
		}
	}
	var perSec, slots float64 // of those that say their speed
	for _, o := range newest {
		p.Providers++
		p.Slots += uint64(o.Slots)
		p.Busy += float64(o.Slots) * float64(min(o.Load, 1000)) / 1000
		if o.FuelPerSec == 0 || o.Slots == 0 {
			continue
		}
		perSec += float64(o.Slots) * float64(o.FuelPerSec)
		slots += float64(o.Slots)
		one := watts * work.FuelPerUnit / float64(o.FuelPerSec)
		if e.Most == 0 || one < e.Least {
			e.Least = one
		}
		e.Most = max(e.Most, one)
	}
	if p.Slots > 0 {
		p.Utilisation = p.Busy / float64(p.Slots)
	}
	p.FuelPerSec = uint64(perSec)
	if perSec == 0 {
		return p, nil
	}
	e.JoulesPerUnit = watts * slots / perSec * work.FuelPerUnit
	e.KWhPerMillion = e.JoulesPerUnit * 1e6 / 3.6e6
	return p, e
}

func (a *app) printSupply(v *supplyView) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("supply", "%sugtg at height %d", v.Total, v.Height)
	row("in escrows", "%sugtg", v.Escrowed)
	row("in bonds", "%sugtg", v.Bonded)
	row("vesting", "%sugtg", v.Unvested)
	row("commons pool", "%sugtg", v.CommonsPool)
	row("elsewhere", "%sugtg (accounts, validators, deposits)", v.Elsewhere)
	row("minted for work", "%sugtg of at most %sugtg", v.Minted, v.MintBound)
	row("minted for the commons", "%sugtg", v.MintedCommons)
	row("burned of fees", "%sugtg", v.FeeBurn)
	row("burned of slashes", "%sugtg", v.SlashBurn)
	if v.Conserved {
		row("conserved", "yes")
	} else {
		row("conserved", "NO: %s", v.Problem)
	}
	if p := v.Pool; p != nil {
		row("pool", "%d provider(s), %d slots, %.1f busy with paid work (%.0f %%), %s fuel a second", p.Providers, p.Slots, p.Busy, 100*p.Utilisation, formatFuel(work.Fuel(p.FuelPerSec)))
	} else {
		row("pool", "unknown: the indexer does not answer")
	}
	if e := v.Energy; e != nil {
		row("energy", "about %.1f J a work unit (%.1f to %.1f), %.2f kWh a million: an estimate at %g W a slot", e.JoulesPerUnit, e.Least, e.Most, e.KWhPerMillion, e.WattsPerSlot)
	}
	return w.Flush()
}
