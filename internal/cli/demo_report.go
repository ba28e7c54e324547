package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// baseUnits is an amount in JSON: a decimal string of base units.
type baseUnits work.Amount

// MarshalText implements encoding.TextMarshaler.
func (a baseUnits) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(a), 10), nil }

// String gives the amount for people.
func (a baseUnits) String() string { return work.Amount(a).String() }

// demoReport is what `gotong demo --json` prints: money in ugtg, counted from the
// chain's records of the job's batches.
type demoReport struct {
	Items        uint64           `json:"items"`
	Verified     uint64           `json:"verified"`
	Recomputed   uint64           `json:"recomputed"`
	Seconds      float64          `json:"seconds"`
	Providers    []providerReport `json:"providers"`
	Checkers     []checkerReport  `json:"checkers"`
	Validators   baseUnits        `json:"validators"`
	Client       clientReport     `json:"client"`
	Supply       supplyReport     `json:"supply"`
	OutputDigest string           `json:"output_digest"`

	feeBurn baseUnits
	void    work.RangeSet             // items of void batches
	finders map[work.Address][]string // who found a provider's lie
}

type providerReport struct {
	Address work.Address `json:"address"`
	Cheat   bool         `json:"cheat"`
	Items   uint64       `json:"items"`
	Earned  baseUnits    `json:"earned"`
	Slashed baseUnits    `json:"slashed"`

	name string
	void uint64 // items of void batches
}

type checkerReport struct {
	Address work.Address `json:"address"`
	Checks  uint64       `json:"checks"`
	Found   uint64       `json:"found"`
	Earned  baseUnits    `json:"earned"`
	Bounty  baseUnits    `json:"bounty"`

	name    string
	slashed baseUnits
}

type clientReport struct {
	Escrowed baseUnits `json:"escrowed"`
	Paid     baseUnits `json:"paid"`
	Refunded baseUnits `json:"refunded"`
	Damages  baseUnits `json:"damages"` // its part of the slashes
}

type supplyReport struct {
	Before    baseUnits `json:"before"`
	After     baseUnits `json:"after"`
	Burned    baseUnits `json:"burned"`
	Minted    baseUnits `json:"minted"`
	Conserved bool      `json:"conserved"`
}

func newDemoReport(m localnet.Members) *demoReport {
	r := &demoReport{finders: map[work.Address][]string{}}
	for _, p := range m.Providers {
		r.Providers = append(r.Providers, providerReport{Address: p.Address, Cheat: p.Cheat, name: p.Name})
	}
	for _, c := range m.Checkers {
		r.Checkers = append(r.Checkers, checkerReport{Address: c.Address, name: c.Name})
	}
	return r
}

func (r *demoReport) provider(a work.Address) *providerReport {
	for i := range r.Providers {
		if r.Providers[i].Address == a {
			return &r.Providers[i]
		}
	}
	return &providerReport{}
}

func (r *demoReport) checker(a work.Address) *checkerReport {
	for i := range r.Checkers {
		if r.Checkers[i].Address == a {
			return &r.Checkers[i]
		}
	}
	return &checkerReport{}
}

// add counts a batch.
func (r *demoReport) add(b *lifecycle.Batch) {
	p := r.provider(b.Provider)
	switch b.Phase {
	case lifecycle.Settled:
		p.Items += b.N
	case lifecycle.Void:
		p.void += b.N
		r.void = r.void.Union(b.Items) // several cheats may have had an item
	}
	for _, c := range b.Checks {
		if c.Revealed {
			r.checker(c.Checker).Checks += uint64(len(c.Draws))
		}
	}
	for _, t := range b.Transfers {
		amount := baseUnits(t.Amount)
		switch t.Reason {
		case lifecycle.ReasonWork:
			p.Earned += amount
		case lifecycle.ReasonValidators:
			r.Validators += amount
		case lifecycle.ReasonFeeBurn:
			r.feeBurn += amount
		case lifecycle.ReasonCheck:
			r.checker(t.To).Earned += amount
		case lifecycle.ReasonBounty:
			c := r.checker(t.To)
			c.Bounty += amount
			c.Found++
			r.finders[b.Provider] = append(r.finders[b.Provider], c.name)
		case lifecycle.ReasonDamages:
			r.Client.Damages += amount
		}
		if t.FromPot == lifecycle.PotBond { // of a batch: a slash, whoever gets it
			if t.Role == lifecycle.RoleChecker {
				r.checker(t.From).slashed += amount
			} else {
				p.Slashed += amount
			}
		}
	}
}

// faults are what must not be, of a demo that holds.
func (r *demoReport) faults() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Verified != r.Items {
		fault("%d of %d items were verified", r.Verified, r.Items)
	}
	var earned baseUnits
	for _, p := range r.Providers {
		earned += p.Earned
		switch {
		case p.Cheat && p.Slashed == 0:
			fault("%s cheated and was not slashed", p.name)
		case p.Cheat && p.Items > 0:
			fault("%d items of the cheat %s were accepted", p.Items, p.name)
		case !p.Cheat && (p.Slashed > 0 || p.void > 0):
			fault("%s is honest and was slashed", p.name)
		}
	}
	for _, c := range r.Checkers {
		earned += c.Earned
		if c.slashed > 0 {
			fault("%s is honest and was slashed", c.name)
		}
	}
	// Fewer is no fault: a straggler's copy was paid before the lie was found.
	if void := r.void.Len(); r.Recomputed > void {
		fault("%d items were recomputed and %d were in void batches", r.Recomputed, void)
	}
	if !r.Supply.Conserved {
		errs = append(errs, errors.New("money was not conserved"))
	}
	if sum := earned + r.Validators + r.feeBurn; r.Client.Paid != sum {
		fault("the client paid %s and others got or burned %s", r.Client.Paid, sum)
	}
	if r.Client.Escrowed != r.Client.Paid+r.Client.Refunded {
		fault("the client escrowed %s, paid %s and got %s back", r.Client.Escrowed, r.Client.Paid, r.Client.Refunded)
	}
	return errs
}

// print says for people who worked, earned and lost.
func (r *demoReport) print(w io.Writer, path string, holds bool) {
	fmt.Fprintf(w, "\nThe picture is %s", path)
	if holds {
		fmt.Fprint(w, ", equal pixel by pixel to a direct run of the unmodified program")
	}
	fmt.Fprintln(w, ".")
	fmt.Fprintf(w, "%d items verified in %.0f s, %d of them recomputed after a lie was found.\n\n", r.Verified, r.Seconds, r.Recomputed)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHO\tDID\tEARNED\tLOST\tNOTE")
	for _, p := range r.Providers {
		note := ""
		if p.Cheat {
			note = fmt.Sprintf("corrupted %d items; found by %v", p.void, r.finders[p.Address])
		}
		fmt.Fprintf(t, "%s\t%d items\t%s\t%s\t%s\n", p.name, p.Items, p.Earned, p.Slashed, note)
	}
	for _, c := range r.Checkers {
		note := ""
		if c.Found > 0 {
			note = fmt.Sprintf("found %d lie(s): bounty %s", c.Found, c.Bounty)
		}
		fmt.Fprintf(t, "%s\t%d checks\t%s\t%s\t%s\n", c.name, c.Checks, c.Earned, c.slashed, note)
	}
	fmt.Fprintf(t, "validators\t\t%s\t\t\n", r.Validators)
	fmt.Fprintf(t, "client\t\t\t\tescrowed %s, paid %s, got back %s and %s of the slashes\n", r.Client.Escrowed, r.Client.Paid, r.Client.Refunded, r.Client.Damages)
	_ = t.Flush() // stderr: nothing to do about a fault
	fmt.Fprintf(w, "\nSupply: %s before, %s burned, %s minted, %s after; conserved: %t\n", r.Supply.Before, r.Supply.Burned, r.Supply.Minted, r.Supply.After, r.Supply.Conserved)
}
