package cosmos_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"

	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/types/tx"
	bank "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/work"
)

// forgetful is a chain of one account whose node loses its mempool when it is told to.
type forgetful struct {
	read chan struct{} // blocks are read once it is closed
	once sync.Once

	mu       sync.Mutex // guards the fields below
	height   int64
	sequence uint64 // that the next block begins with
	pool     [][]byte
	blocks   map[int64][][]byte
	paid     map[string]int // amount to how often it was sent
}

func newForgetful() *forgetful {
	return &forgetful{read: make(chan struct{}), height: 1, blocks: map[int64][][]byte{}, paid: map[string]int{}}
}

// waiting is how many transactions are in the mempool.
func (f *forgetful) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pool)
}

// crash loses the mempool, and the chain goes on without it for some blocks.
func (f *forgetful) crash(blocks int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pool = nil
	f.height += blocks
}

// block makes one of the mempool.
func (f *forgetful) block() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.height++
	for _, raw := range f.pool {
		_, body, err := open(raw)
		if err != nil {
			panic(err) // it was checked
		}
		var m bank.MsgSend
		if err := proto.Unmarshal(body.Messages[0].Value, &m); err != nil {
			panic(err)
		}
		f.paid[m.Amount.String()]++
	}
	f.sequence += uint64(len(f.pool))
	f.blocks[f.height], f.pool = f.pool, nil
}

// open gives a transaction's sequence number and body.
func open(raw []byte) (uint64, *tx.TxBody, error) {
	var r tx.TxRaw
	var info tx.AuthInfo
	var body tx.TxBody
	if err := proto.Unmarshal(raw, &r); err != nil {
		return 0, nil, err
	}
	if err := proto.Unmarshal(r.AuthInfoBytes, &info); err != nil {
		return 0, nil, err
	}
	if err := proto.Unmarshal(r.BodyBytes, &body); err != nil {
		return 0, nil, err
	}
	return info.SignerInfos[0].Sequence, &body, nil
}

func (f *forgetful) Status(context.Context) (ledger.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return ledger.Status{Chain: "forgetful", Height: f.height}, nil
}

func (f *forgetful) Query(context.Context, string, []byte) (*abci.ResponseQuery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := proto.Marshal(&sdkwire.QueryAccountInfoResponse{Info: &sdkwire.BaseAccount{AccountNumber: 7, Sequence: f.sequence}})
	return &abci.ResponseQuery{Height: f.height, Value: b}, err
}

func (f *forgetful) Block(_ context.Context, height int64) (ledger.Block, error) {
	return ledger.Block{Height: height}, nil
}

func (f *forgetful) Results(ctx context.Context, height int64) (map[[32]byte]cosmos.Result, error) {
	select {
	case <-f.read:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[[32]byte]cosmos.Result{}
	for _, raw := range f.blocks[height] {
		out[[32]byte(cmttypes.Tx(raw).Hash())] = cosmos.Result{}
	}
	return out, nil
}

// Broadcast answers as the SDK's ante handlers do: the height first.
func (f *forgetful) Broadcast(_ context.Context, raw []byte) (*ctypes.ResultBroadcastTx, error) {
	sequence, body, err := open(raw)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	no := func(err interface {
		Codespace() string
		ABCICode() uint32
	}, log string) (*ctypes.ResultBroadcastTx, error) {
		return &ctypes.ResultBroadcastTx{Codespace: err.Codespace(), Code: err.ABCICode(), Log: log}, nil
	}
	if uint64(f.height) > body.TimeoutHeight {
		return no(sdkerrors.ErrTxTimeoutHeight, "block height is over")
	}
	if want := f.sequence + uint64(len(f.pool)); sequence != want {
		f.once.Do(func() { close(f.read) })
		return no(sdkerrors.ErrWrongSequence, fmt.Sprintf("account sequence mismatch, expected %d, got %d: incorrect account sequence", want, sequence))
	}
	f.pool = append(f.pool, raw)
	return &ctypes.ResultBroadcastTx{}, nil
}

func (f *forgetful) Watch(ctx context.Context, tell func(int64)) {
	for ctx.Err() == nil {
		f.mu.Lock()
		height := f.height
		f.mu.Unlock()
		tell(height)
		time.Sleep(time.Millisecond)
	}
}

// TestLostMempool wants transactions that died with a node's mempool, and whose last
// height is over when somebody sends the next one, to be signed again: each is executed
// once, the next one too.
func TestLostMempool(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	chain := newForgetful()
	c := cosmos.Over(chain)
	defer c.Close()
	me := c.AddKey([32]byte{1})
	const lost = 3
	var all sync.WaitGroup
	send := func(amount int) {
		all.Go(func() {
			if _, err := c.Submit(ctx, me, ledger.Send{To: me, Amount: work.Amount(amount)}); err != nil {
				t.Errorf("transaction %d: %v", amount, err)
			}
		})
	}
	for i := range lost {
		send(i + 1)
	}
	for chain.waiting() < lost && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	chain.crash(100)
	send(lost + 1)
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	for over := false; !over; {
		select {
		case <-ended:
			over = true
		case <-time.After(20 * time.Millisecond): // a transaction lives for twenty of them
			chain.block()
		}
	}
	for i := range lost + 1 {
		if n := chain.paid[strconv.Itoa(i+1)+"ugtg"]; n != 1 {
			t.Errorf("transaction %d was executed %d times: %v", i+1, n, chain.paid)
		}
	}
}
