package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// censor is the application as a dishonest validator's consensus sees it: it leaves
// what concerns a victim's jobs out of its own proposals, and refuses the proposals
// of others that have it. What concerns them it knows by the victim's account, and by
// the names of jobs and batches that blocks gave in answer.
type censor struct {
	abci.Application
	held, refused atomic.Int64

	mu    sync.Mutex // guards marks
	marks [][]byte
}

func (c *censor) concerns(tx []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.marks {
		if bytes.Contains(tx, m) {
			return true
		}
	}
	return false
}

// PrepareProposal implements abci.Application.
func (c *censor) PrepareProposal(ctx context.Context, r *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	q := *r
	q.Txs = nil
	for _, tx := range r.Txs {
		if c.concerns(tx) {
			c.held.Add(1)
		} else {
			q.Txs = append(q.Txs, tx)
		}
	}
	return c.Application.PrepareProposal(ctx, &q)
}

// ProcessProposal implements abci.Application.
func (c *censor) ProcessProposal(ctx context.Context, r *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	for _, tx := range r.Txs {
		if c.concerns(tx) {
			c.refused.Add(1)
			return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
		}
	}
	return c.Application.ProcessProposal(ctx, r)
}

// FinalizeBlock implements abci.Application: it learns the names of the victim's jobs
// and batches from the answers, each a message whose first field is the name.
func (c *censor) FinalizeBlock(ctx context.Context, r *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	res, err := c.Application.FinalizeBlock(ctx, r)
	if err != nil {
		return res, err
	}
	for i, tx := range r.Txs {
		var d sdk.TxMsgData
		if !c.concerns(tx) || d.Unmarshal(res.TxResults[i].Data) != nil {
			continue
		}
		for _, m := range d.MsgResponses {
			if v := m.Value; len(v) >= 34 && v[0] == 10 && v[1] == 32 {
				c.mu.Lock()
				c.marks = append(c.marks, v[2:34])
				c.mu.Unlock()
			}
		}
	}
	return res, nil
}

// A validator with just under a third of the power censors a client: none of its
// jobs, and none of their commits, openings, checks and reveals, gets into a proposal
// of its own or its vote in another's. The jobs are settled and everybody is paid, a
// few blocks later than without it.
func TestAdversaryCensor(t *testing.T) {
	t.Parallel()
	honest := settleTimes(t, nil)
	c := &censor{}
	censored := settleTimes(t, c)
	t.Logf("blocks from commit to payment: %v, with the censor %v; it held back %d transactions of its own proposals and refused %d proposals",
		honest, censored, c.held.Load(), c.refused.Load())
	if c.held.Load() == 0 || c.refused.Load() == 0 {
		t.Errorf("it censored nothing: held %d, refused %d", c.held.Load(), c.refused.Load())
	}
}

// settleTimes runs two jobs in a network of four validators, one of which is a censor
// if there is one, and gives how many blocks each batch took from commit to payment.
func settleTimes(t *testing.T, c *censor) (blocks []int64) {
	t.Helper()
	p := lifecycle.LocalParams()
	p.MinBond = 100 * work.UgtgPerGtg
	o := localnet.Options{Dir: filepath.Join(t.TempDir(), "home"), Providers: 2, Checkers: 3, Validators: 4, Params: &p,
		Stake: func(name string) work.Amount {
			if name == localnet.ValidatorName(3) {
				return 1499 * work.UgtgPerGtg // of 4499: the others have just over two thirds
			}
			return 1000 * work.UgtgPerGtg
		},
		ChangeChain: func(name string, conf *chainnode.Config) {
			if c != nil && name == localnet.ValidatorName(3) {
				conf.Wrap = func(a abci.Application) abci.Application { c.Application = a; return c }
			}
		}}
	a := openArena(t, o)
	if c != nil {
		c.mu.Lock()
		c.marks = append(c.marks, []byte(a.m.Client))
		c.mu.Unlock()
	}
	const items = 20
	jobs := a.postAll(a.request(items, work.TierEconomic), a.request(items, work.TierAssured))
	paid := map[work.BatchID]int64{}
	a.eventually("all batches of the jobs are settled", func() error {
		st, err := a.led.Status(t.Context())
		if err != nil {
			return err
		}
		var open error
		for _, id := range jobs {
			var got work.RangeSet
			for _, b := range a.batches(id) {
				if b.Phase != lifecycle.Settled {
					open = fmt.Errorf("a batch is %s (%s)", b.Phase, b.Why)
					continue
				}
				got = got.Union(b.Items)
				if paid[b.ID] == 0 {
					paid[b.ID] = st.Height - b.CommitHeight
				}
			}
			if got.Len() < items && open == nil {
				open = errors.New("not all items are committed")
			}
		}
		return open
	})
	blocks = slices.Sorted(maps.Values(paid))
	all := []work.Address{a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2)}
	a.unhurt(all...)
	if a.gain(all[0])+a.gain(all[1]) <= 0 || a.gain(all[2])+a.gain(all[3])+a.gain(all[4]) <= 0 {
		t.Error("not everybody was paid")
	}
	return blocks
}
