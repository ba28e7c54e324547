package app_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/app/apptest"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// mortal is a database whose process is killed after some batches: what it writes later
// is on no disk.
type mortal struct {
	dbm.DB
	writes int // so far
	last   int // that are done
}

func (m *mortal) NewBatch() dbm.Batch              { return &mortalBatch{m.DB.NewBatch(), m} }
func (m *mortal) NewBatchWithSize(n int) dbm.Batch { return &mortalBatch{m.DB.NewBatchWithSize(n), m} }

type mortalBatch struct {
	dbm.Batch
	m *mortal
}

func (b *mortalBatch) Write() error { return b.write(b.Batch.Write) }

func (b *mortalBatch) WriteSync() error { return b.write(b.Batch.WriteSync) }

func (b *mortalBatch) write(do func() error) error {
	if b.m.writes++; b.m.writes > b.m.last {
		return nil
	}
	return do()
}

// newMortal begins a chain of one account over a database.
func newMortal(t *testing.T, db *mortal) (*apptest.Chain, work.Address) {
	t.Helper()
	me := apptest.Address(secret(1))
	c, err := apptest.New(apptest.Config{DB: db,
		Genesis:    app.GenesisConfig{Chain: "gotong-mortal", Params: lifecycle.LocalParams(), Accounts: []app.Account{{Address: me, Balance: 1000 * gtg}}},
		Validators: []apptest.Validator{{Operator: me, Stake: 10 * gtg}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.AddKey(secret(1))
	return c, me
}

// TestKilledInFirstBlock kills a node after each write of the commit of its first block:
// nothing is committed, so it begins again with the genesis.
func TestKilledInFirstBlock(t *testing.T) {
	t.Parallel()
	begin := func(db *mortal) []byte {
		c, _ := newMortal(t, db)
		b, err := c.Advance()
		if err != nil {
			t.Fatal(err)
		}
		return b.Hash
	}
	whole := &mortal{DB: dbm.NewMemDB(), last: math.MaxInt}
	want := begin(whole)
	for k := range whole.writes {
		disk := dbm.NewMemDB()
		begin(&mortal{DB: disk, last: k})
		if got := begin(&mortal{DB: disk, last: math.MaxInt}); !bytes.Equal(got, want) {
			t.Errorf("killed after %d of %d writes: the state is %X, want %X", k, whole.writes, got, want)
		}
	}
	t.Logf("%d writes", whole.writes)
}

// TestKilledInCommit kills a node after each write of a large block's commit: started
// again, it executes the block once more and has the same state as everybody.
func TestKilledInCommit(t *testing.T) {
	t.Parallel()
	// commit makes the block, of whose commit so many writes are done.
	commit := func(writes int) (*apptest.Chain, *mortal, []byte) {
		db := &mortal{DB: dbm.NewMemDB(), last: math.MaxInt}
		c, me := newMortal(t, db)
		if _, err := c.Advance(); err != nil {
			t.Fatal(err)
		}
		for i := range 6 { // to accounts that are new: far over what a tree writes at once
			var ms []proto.Message
			for k := range 90 {
				var s [32]byte
				binary.BigEndian.PutUint64(s[:], uint64(1000+90*i+k))
				ms = append(ms, &banktypes.MsgSend{FromAddress: string(me), ToAddress: string(apptest.Address(s)), Amount: sdk.NewCoins(sdk.NewInt64Coin(work.Denom, 1))})
			}
			if err := c.Send(me, ms...); err != nil {
				t.Fatal(err)
			}
		}
		db.writes, db.last = 0, writes
		b, err := c.Advance()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Results {
			if r.Code != 0 {
				t.Fatal(r.Log)
			}
		}
		return c, db, b.Hash
	}
	_, whole, want := commit(math.MaxInt)
	for k := range whole.writes {
		c, db, _ := commit(k)
		db.last = math.MaxInt
		if got, err := c.Recover(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("killed after %d of %d writes: the state is %X, want %X (%v)", k, whole.writes, got, want, err)
		}
	}
	t.Logf("%d writes", whole.writes)
}
