package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Earnings are what an account earned and lost in its roles, as the chain's events
// say: the file earnings.json of its home.
type Earnings struct {
	Since  int64 `json:"since"`  // first height that was read
	Height int64 `json:"height"` // last one
	// Missed are heights that no node kept any more when they were to be read.
	Missed int64                          `json:"missed,omitempty"`
	Earned map[string]work.Amount         `json:"earned"` // by reason; pay that still vests included
	Lost   map[string]work.Amount         `json:"lost"`
	Days   map[string]work.Amount         `json:"days"` // earned, by UTC date; the newest 90
	Roles  map[lifecycle.Role]work.Amount `json:"roles"`
}

// maxDays bounds Earnings.Days, saveEarnings how much is read twice after a crash:
// sums and cursor are saved together, so that nothing is counted twice.
const (
	maxDays      = 90
	saveEarnings = 15 * time.Second
)

// ReadEarnings reads what a home has counted; nothing if it never ran.
func ReadEarnings(h *home.Home) (*Earnings, error) {
	e := &Earnings{Earned: map[string]work.Amount{}, Lost: map[string]work.Amount{}, Days: map[string]work.Amount{}, Roles: map[lifecycle.Role]work.Amount{}}
	b, err := os.ReadFile(h.Path("earnings.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(b, e)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: earnings.json: %v; it is a count only: removing it begins anew", h.Dir(), home.ErrDamaged, err)
	}
	return e, nil
}

// Sum is all that was earned.
func (e *Earnings) Sum() (sum work.Amount) {
	for _, a := range e.Earned {
		sum += a
	}
	return sum
}

// countEarnings follows the chain from where the last count ended until ctx ends.
func (n *Node) countEarnings(ctx context.Context) error {
	e, err := ReadEarnings(n.home)
	if err != nil {
		return err
	}
	if e.Height == 0 {
		if e.Height, err = n.registeredBefore(ctx); err != nil {
			return err
		}
		e.Since = e.Height + 1
	}
	saved := time.Now()
	n.mu.Lock()
	n.earned = e
	n.mu.Unlock()
	save := func() error {
		b, err := n.encodeEarnings()
		if err != nil {
			return err
		}
		saved = time.Now()
		return home.WriteFile(n.home.Path("earnings.json"), append(b, '\n'), 0o600)
	}
	for {
		err := n.ledger.Follow(ctx, e.Height+1, func(b ledger.Block) error {
			n.mu.Lock()
			e.add(n.opts.Key.Address, b)
			n.mu.Unlock()
			if time.Since(saved) < saveEarnings {
				return nil
			}
			return save()
		})
		switch {
		case ctx.Err() != nil:
			return save()
		case errors.Is(err, ledger.ErrPruned):
			st, serr := n.ledger.Status(ctx)
			if serr != nil {
				return errors.Join(serr, save())
			}
			n.log.Warn("earnings of some blocks are not counted: no node keeps them any more", "from", e.Height+1, "to", st.Height)
			n.mu.Lock()
			e.Missed, e.Height = e.Missed+st.Height-e.Height, st.Height
			n.mu.Unlock()
		default:
			return errors.Join(err, save())
		}
	}
}

// encodeEarnings is the present count; nothing before it began.
func (n *Node) encodeEarnings() ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.earned == nil {
		return []byte("{}"), nil
	}
	return json.MarshalIndent(n.earned, "", "  ")
}

// registeredBefore is the height before the account's first registration.
func (n *Node) registeredBefore(ctx context.Context) (int64, error) {
	st, err := n.ledger.Status(ctx)
	if err != nil {
		return 0, err
	}
	first := st.Height
	for _, role := range onChain {
		switch p, err := n.ledger.Party(ctx, role, n.opts.Key.Address); {
		case err == nil:
			first = min(first, p.RegisteredHeight)
		case !errors.Is(err, ledger.ErrNotFound):
			return 0, err
		}
	}
	return max(first-1, 0), nil
}

// add counts one block.
func (e *Earnings) add(me work.Address, b ledger.Block) {
	e.Height = b.Height
	for _, v := range b.Events {
		t := v.Transfer
		if t == nil || t.Amount == 0 {
			continue
		}
		switch {
		case t.To == me && t.From != me && earns(t):
			e.Earned[string(t.Reason)] += t.Amount
			e.Roles[t.Role] += t.Amount
			e.Days[b.Time.UTC().Format(time.DateOnly)] += t.Amount
		case t.From == me && t.To != me && loses(t):
			e.Lost[string(t.Reason)] += t.Amount
		}
	}
	for len(e.Days) > maxDays {
		delete(e.Days, slices.Min(slices.Collect(maps.Keys(e.Days))))
	}
}

// earns reports a transfer to an account that is income: neither its own money
// coming back nor somebody's present.
func earns(t *lifecycle.Transfer) bool {
	if t.ToPot != lifecycle.PotAccount && t.ToPot != lifecycle.PotVesting {
		return false
	}
	switch t.FromPot {
	case lifecycle.PotEscrow, lifecycle.PotCheckEscrow, lifecycle.PotMint, lifecycle.PotCommons:
		return t.Reason != lifecycle.ReasonRefund
	case lifecycle.PotBond, lifecycle.PotVesting, lifecycle.PotStake: // another's: a bounty, or damages
		return true
	}
	return false
}

// loses reports a transfer out of what an account stood for its honesty.
func loses(t *lifecycle.Transfer) bool {
	return t.FromPot == lifecycle.PotBond || t.FromPot == lifecycle.PotVesting || t.FromPot == lifecycle.PotStake
}
