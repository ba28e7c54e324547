package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// fit finds the offers that the job could use at a price cap, cheapest first.
func (p *Plan) fit(r Request, offers []Standing, cap work.Price) {
	cs := make([]match.Candidate, len(offers))
	seen := map[work.Address]*Standing{}
	for i := range offers {
		o := &offers[i]
		cs[i] = match.Candidate{Offer: o.Offer, Attested: o.Attested, RTT: time.Duration(o.Seen.RTTMicros) * time.Microsecond}
		seen[o.Offer.Provider] = o
	}
	ask := match.Request{NowUnix: time.Now().Unix(), Chain: p.Spec.Chain, MaxPrice: cap, MemoryBytes: r.Limits.MemoryBytes, Place: r.Place}
	ranked, excluded := match.Rank(cs, ask, match.DefaultWeights())
	slices.SortStableFunc(ranked, func(a, b match.Ranked) int { return cmp.Compare(a.Offer.Price, b.Offer.Price) })
	p.Excluded = map[string]int{}
	for why, n := range excluded {
		p.Excluded[ask.Say(why)] = n
	}
	p.Fits, p.Seen, p.attested = make([]*work.Offer, len(ranked)), make([]wire.Seen, len(ranked)), make([][]work.Attestation, len(ranked))
	for i, k := range ranked {
		p.Fits[i], p.Seen[i], p.attested[i] = k.Offer, seen[k.Offer.Provider].Seen, k.Attested
	}
	p.Why = ask.Explain(len(ranked), excluded)
}

// checkPlace reports a job that asks for a place where nobody, or too few, are.
func (p *Plan) checkPlace() error {
	place := &p.Spec.Place
	switch {
	case place.IsZero():
		return nil
	case len(p.Fits) == 0:
		return fmt.Errorf("%w: %s", ErrPlace, p.Why)
	}
	for _, b := range []struct {
		permille  uint32
		of, flag  string
		different func(i int) string
	}{
		{place.MaxPerOwner, "owners", "--max-per-owner", func(i int) string { return string(p.Fits[i].Owner) }},
		{place.MaxPerPrefix, "networks", "--max-per-prefix", func(i int) string { return p.Seen[i].Network }},
	} {
		if b.permille == 0 {
			continue
		}
		keys := map[string]bool{}
		for i := range p.Fits {
			keys[b.different(i)] = true
		}
		can := min(uint64(len(keys))*match.Cap(p.Spec.ItemCount, b.permille), p.Spec.ItemCount)
		if can < p.Spec.ItemCount {
			return fmt.Errorf("%w: the %d providers that fit belong to %d %s, which may do %d of the %d items together: give a larger %s, or fewer conditions",
				ErrPlace, len(p.Fits), len(keys), b.of, can, p.Spec.ItemCount, b.flag)
		}
	}
	return nil
}

// pings is how many round trips RTT takes the shortest of.
const pings = 3

// RTT measures the round trip to the indexer.
func (c *Client) RTT(ctx context.Context) (time.Duration, error) {
	var best time.Duration
	for range pings {
		began := time.Now()
		if err := c.ask(ctx, &wire.Request{Op: wire.OpPing}, func(*wire.Answer) error { return nil }); err != nil {
			return 0, err
		}
		if d := time.Since(began); best == 0 || d < best {
			best = d
		}
	}
	return best, nil
}

// Readers are who will be able to read a job's program, inputs and outputs. Both
// travel encrypted to each of them; what they then do with them nobody can prove.
type Readers struct {
	Indexer sign.PublicKey `json:"indexer"`
	Addrs   []string       `json:"indexer_addrs"`
	Owner   work.Address   `json:"indexer_owner"`
	// Providers fit now; others that come later and fit can read too.
	Providers int `json:"providers"`
	// Places are the jurisdictions of these, as attested by who the job trusts;
	// Unattested have none.
	Places     map[string]int `json:"places"`
	Unattested int            `json:"unattested"`
	// Checkers are registered; the beacon draws some of them for each batch,
	// wherever they are. Referees: every validator can read items in a dispute.
	Checkers int  `json:"checkers"`
	Referees bool `json:"referees"`
}

func (c *Client) readers(ctx context.Context, p *Plan) (Readers, error) {
	r := Readers{Indexer: p.Spec.Indexer, Owner: p.Spec.IndexerOwner, Providers: len(p.Fits), Places: map[string]int{}}
	if at, err := c.cfg.Indexer(); err == nil {
		r.Addrs = at.Addrs
	}
	for i, o := range p.Fits {
		if place := attestedPlace(o, p.attested[i], p.Spec.Place.Attesters); place != "" {
			r.Places[place]++
		} else {
			r.Unattested++
		}
	}
	if p.Spec.Tier == work.TierNone {
		return r, nil
	}
	checkers, err := c.cfg.Ledger.Parties(ctx, lifecycle.RoleChecker)
	r.Checkers, r.Referees = len(checkers), true
	return r, err
}

// attestedPlace is where a trusted attester says that the provider is; of several
// the last in order, which is the narrowest of one country.
func attestedPlace(o *work.Offer, as []work.Attestation, trusted []sign.PublicKey) string {
	now, place := time.Now().Unix(), ""
	for _, a := range as {
		if a.Claim == work.ClaimJurisdiction && a.Counts(o.Peer, trusted, now) {
			place = max(place, a.Value)
		}
	}
	return place
}

// Lines say in plain words who can read the job, one reader a line.
func (r Readers) Lines() []string {
	at := ""
	if len(r.Addrs) > 0 {
		at = " at " + r.Addrs[0]
	}
	lines := []string{fmt.Sprintf("the indexer %s…%s, of %s", r.Indexer.String()[:12], at, r.Owner)}
	var where []string
	for _, p := range slices.Sorted(maps.Keys(r.Places)) {
		where = append(where, fmt.Sprintf("%d in %s", r.Places[p], p))
	}
	if r.Unattested > 0 {
		where = append(where, fmt.Sprintf("%d anywhere: no attester that you name says where", r.Unattested))
	}
	if !r.Referees {
		return append(lines, fmt.Sprintf("your own providers, %d now", r.Providers))
	}
	if len(where) == 0 {
		where = []string{"none"}
	}
	return append(lines,
		fmt.Sprintf("providers that fit, those among them that get items: %d now (%s)", r.Providers, strings.Join(where, ", ")),
		fmt.Sprintf("checkers that the chain draws for some items, out of %d, wherever they are: the job's place does not bind them", r.Checkers),
		"every validator, for items that are disputed")
}
