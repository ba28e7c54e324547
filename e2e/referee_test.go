package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"

	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// 9 and 12 among four validators of equal power: one of them never makes use of its
// turn to propose, and as a referee echoes the challenger, then votes against what it
// executes, then is absent. The chain goes on, draws keep away from its turns, every
// verdict is the true one, and it pays each time; nobody else does.
func TestAdversaryValidatorOfFour(t *testing.T) {
	t.Parallel()
	var against, absent atomic.Bool
	var echoed atomic.Pointer[work.Leaf]
	p := lifecycle.LocalParams()
	p.MinBond, p.WindowBlocks, p.VoteBlocks = 100*work.UgtgPerGtg, 25, 20
	o := localnet.Options{Dir: filepath.Join(t.TempDir(), "home"), Providers: 2, Checkers: 3, Validators: 4, Params: &p,
		Change: func(name string, c *node.Config) {
			if name != localnet.ValidatorName(3) {
				return
			}
			c.Wrap = func(rt runtime.Runtime) runtime.Runtime {
				return adversary.Echo(adversary.After(&against, rt, adversary.CorruptRuntime(rt)), echoed.Load)
			}
			c.Ledger = adversary.Silent(c.Ledger, func(m ledger.Msg) bool { _, is := m.(ledger.CommitVote); return is && absent.Load() })
		}}
	silenceProposer(t, o)
	a := openArena(t, o)
	before := a.powers()
	if len(before) != 4 || before[0] != before[3] {
		t.Fatalf("powers of the validators: %v", before)
	}
	for _, c := range []struct {
		name     string
		set      func(claim *work.Leaf)
		permille uint64
	}{
		{"echoes the challenger", func(l *work.Leaf) { echoed.Store(l) }, p.VoteSlashPermille},
		{"votes against its own execution", func(*work.Leaf) { echoed.Store(nil); against.Store(true) }, p.VoteSlashPermille},
		{"is absent", func(*work.Leaf) { against.Store(false); absent.Store(true) }, p.VoteMissPermille},
	} {
		b := a.challenged(c.set)
		if d := b.Decided[0]; d.Leaf == falseLeaf(b) {
			t.Errorf("a validator that %s: the false challenge was upheld", c.name)
		}
		after := a.powers()
		if want := before[0] - max(before[0]*int64(c.permille)/1000, 1); after[0] > want || after[0] < want-1 || !slices.Equal(after[1:], before[1:]) {
			t.Errorf("a validator that %s: powers went from %v to %v, want %d for one of them", c.name, before, after, want)
		}
		before = after
	}
	redraws := uint32(0)
	jobs, err := a.led.Jobs(t.Context(), a.m.Client)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		for _, b := range a.settled(j.ID, j.Spec.ItemCount) {
			redraws += b.Redraws
			if b.Phase != lifecycle.Settled {
				t.Errorf("an honest batch is %s: %s", b.Phase, b.Why)
			}
		}
	}
	t.Logf("%d draws began anew", redraws)
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// silenceProposer gives the last validator of a new network another beacon key than
// the registered one: nobody accepts what it proposes.
func silenceProposer(t *testing.T, o localnet.Options) {
	t.Helper()
	o.Runtime = func() runtime.Runtime { return quick{} }
	n, err := localnet.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel() // it has a home now, that is all
	if err := n.Run(over, nil); err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	file := filepath.Join(o.Dir, "node", fmt.Sprintf("chain-%d", o.Validators-1), "config", "vrf_key")
	if err := os.WriteFile(file, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// challenged posts a job, challenges a batch of it falsely, and gives the batch once
// it is decided. set is told what is claimed.
func (a *arena) challenged(set func(claim *work.Leaf)) *lifecycle.Batch {
	a.t.Helper()
	id := a.post(10, work.TierEconomic)
	var b *lifecycle.Batch
	a.eventually("a batch in its window", func() error {
		for _, x := range a.batches(id) {
			if x.Phase == lifecycle.Window {
				b = x
				return nil
			}
		}
		return errors.New("none yet")
	})
	claim := falseLeaf(b)
	set(&claim)
	if _, err := a.led.Submit(a.t.Context(), a.m.Client, ledger.Challenge{Batch: b.ID, Position: 0, Leaf: claim}); err != nil {
		a.t.Fatal(err)
	}
	a.eventually("the challenge is decided", func() (err error) {
		if b, err = a.led.Batch(a.t.Context(), b.ID); err == nil && len(b.Decided) == 0 {
			err = errors.New(b.Phase.String())
		}
		return err
	})
	return b
}

// powers are the validators' voting powers two blocks from now, ascending.
func (a *arena) powers() (l []int64) {
	a.t.Helper()
	c, err := rpchttp.NewWithTimeout(a.net.RPC(), "/websocket", 10)
	if err != nil {
		a.t.Fatal(err)
	}
	st, err := a.led.Status(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	height := st.Height + 2 // a change of stake counts then
	a.eventually("two more blocks", func() error {
		v, err := c.Validators(a.t.Context(), &height, nil, nil)
		if err != nil {
			return err
		}
		l = l[:0]
		for _, x := range v.Validators {
			l = append(l, x.VotingPower)
		}
		slices.Sort(l)
		return nil
	})
	return l
}
