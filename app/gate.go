package app

import (
	"sync"

	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
)

// gate is what a node does about more transactions than blocks should hold. None of
// them costs a fee, so a crowd of accounts could fill every block with messages that
// fail, and blocks would take as long as its members like. A node therefore proposes
// only so much work in a block, keeps most of that for the accounts that have
// something at stake (bonded roles, validators), and takes no more into its mempool
// than a few blocks of it: all that waits is checked again after each block.
//
// It is no part of consensus. Nodes may differ in it, and a proposer without it slows
// down only its own blocks.
type gate struct {
	block    int // weight of a block that this node proposes; 0: no bound anywhere
	standing func(sdk.Context, sdk.AccAddress) bool

	mu      sync.Mutex // guards the variables below
	waiting map[string]waiting
	total   map[bool]int // weight that waits, by standing
}

// waiting is what an account has in the mempool.
type waiting struct {
	weight   int
	standing bool
}

const (
	strangersShare = 4    // strangers get one part in so many of a block
	waitingBlocks  = 8    // of messages with standing may wait in the mempool
	strangerBlocks = 2    // and of strangers' messages
	newcomersShare = 4    // of that, one part in so many is for accounts that have nothing there
	accountShare   = 16   // and one part in so many is the most for an account, once half is taken
	weightBytes    = 4096 // weigh as much as a message: of signatures and paths to verify
)

func newGate(block int, standing func(sdk.Context, sdk.AccAddress) bool) *gate {
	g := &gate{block: block, standing: standing}
	g.reset()
	return g
}

// weight is what a transaction costs a block, roughly a millisecond each.
func weight(tx sdk.Tx, bytes int) int {
	return max(len(tx.GetMsgs()), (bytes+weightBytes-1)/weightBytes)
}

// sender is the account whose sequence number orders a transaction; nil if there is none.
func sender(tx sdk.Tx) sdk.AccAddress {
	if s, ok := tx.(authsigning.SigVerifiableTx); ok {
		if l, err := s.GetSigners(); err == nil && len(l) > 0 {
			return l[0]
		}
	}
	return nil
}

// lane is the weight of a block that accounts with standing, or strangers, may fill.
func (g *gate) lane(standing bool) int {
	if standing {
		return g.block
	}
	return g.block / strangersShare
}

// room is the weight that may wait in the mempool.
func (g *gate) room(standing bool) int {
	if standing {
		return waitingBlocks * g.lane(true)
	}
	return strangerBlocks * g.lane(false)
}

// reset forgets what waits: after a block everything left is checked again, and counted.
func (g *gate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting, g.total = map[string]waiting{}, map[bool]int{}
}

// ante lets a transaction into the mempool while its account has not too much there,
// and leaves a part of the room to accounts that have nothing there yet: so a crowd
// that sends all it can keeps nobody out who sends a little. Blocks are executed as
// they are.
func (g *gate) ante(inner sdk.AnteHandler) sdk.AnteHandler {
	if g.block == 0 {
		return inner
	}
	return func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
		if !ctx.IsCheckTx() || simulate {
			return inner(ctx, tx, simulate)
		}
		who := sender(tx)
		w := waiting{weight(tx, len(ctx.TxBytes())), g.standing(ctx, who)}
		// Before its signature is verified, which is what costs: nothing is counted yet.
		if !ctx.IsReCheckTx() {
			if err := g.admit(who, w, len(tx.GetMsgs())); err != nil {
				return ctx, err
			}
		}
		ctx, err := inner(ctx, tx, simulate)
		if err == nil {
			g.count(who, w)
		}
		return ctx, err
	}
}

func (g *gate) admit(who sdk.AccAddress, w waiting, messages int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if most := g.lane(w.standing); messages > most {
		return sdkerrors.ErrTxTooLarge.Wrapf("%d messages in a transaction: at most %d from an account that is bonded in a role, %d from any other", messages, g.lane(true), g.lane(false))
	}
	room, mine, all := g.room(w.standing), g.waiting[string(who)].weight, g.total[w.standing]
	if all >= room || mine > 0 && (all >= room-room/newcomersShare || all >= room/2 && mine >= room/accountShare) {
		return sdkerrors.ErrMempoolIsFull.Wrapf("%d messages wait for a block, %d of them of this account", all, mine)
	}
	return nil
}

func (g *gate) count(who sdk.AccAddress, w waiting) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total[w.standing] += w.weight
	w.weight += g.waiting[string(who)].weight
	g.waiting[string(who)] = w
}

// fill gives a filter for the transactions of one proposal, in their order: whether
// the next one still fits. What does not fit waits, and with it all that follow in its
// lane, or they would come before the one whose sequence number they follow.
func (g *gate) fill(ctx sdk.Context) func(tx sdk.Tx, bytes int) bool {
	if g.block == 0 {
		return func(sdk.Tx, int) bool { return true }
	}
	var used, strangers int
	full := map[bool]bool{}
	return func(tx sdk.Tx, bytes int) bool {
		standing, w := g.standing(ctx, sender(tx)), weight(tx, bytes)
		if full[standing] {
			return false
		}
		// One transaction alone always fits, or it would wait for ever.
		if used > 0 && used+w > g.block || !standing && strangers > 0 && strangers+w > g.lane(false) {
			full[standing] = true
			return false
		}
		used += w
		if !standing {
			strangers += w
		}
		return true
	}
}
