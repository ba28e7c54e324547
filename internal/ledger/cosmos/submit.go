package cosmos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/work"
)

const (
	// gasLimit is generous: blocks are bounded by bytes, and no fee is asked.
	gasLimit = 10_000_000_000
	// resendAfter is how long a transaction may stay out of the blocks before it is
	// sent again.
	resendAfter = 3 * time.Second
	// liveBlocks is for how many heights a signed transaction may be included. Only
	// when they are over is it signed again with another sequence number: a node may
	// hold one that it cannot execute yet, and execute it later.
	liveBlocks = 20
	// restTime is the wait before a node that is full, cannot be reached or wants
	// another transaction each time is asked again.
	restTime = 250 * time.Millisecond
)

// errAgain tells that a transaction can no longer be included as it was signed.
var errAgain = errors.New("sign again")

// Submit implements ledger.Submitter.
func (c *Client) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	if len(msgs) == 0 {
		return ledger.Included{}, errors.New("a transaction of no messages")
	}
	a, err := c.account(from)
	if err != nil {
		return ledger.Included{}, err
	}
	encoded, err := encode(from, msgs)
	if err != nil {
		return ledger.Included{}, err
	}
	for {
		p, err := a.send(ctx, encoded)
		if err != nil {
			return ledger.Included{}, err
		}
		in, err := a.follow(ctx, p)
		if !errors.Is(err, errAgain) {
			return in, err
		}
	}
}

// account is one account's way into the mempool: its transactions enter in the
// order of their sequence numbers, without waiting for each other's inclusion.
type account struct {
	client  *Client
	key     *secp256k1.PrivKey
	address work.Address

	mu     sync.Mutex // guards the variables below, and the order of broadcasts; free while one rests
	known  bool       // number and next are valid
	number uint64
	next   uint64
	seen   int64      // the highest height of an answer
	flight []*pending // sent and not known to be included, by sequence
	resent time.Time  // when all in flight were last sent again
}

// pending is a signed transaction on its way.
type pending struct {
	sequence uint64
	bytes    []byte
	hash     [32]byte
	after    int64 // it can only be in a later height
	last     int64 // and up to this one
}

// send signs messages with the account's next sequence number and hands them to
// the node. What it learns from a first refusal is tried at once, later ones after a
// rest: others of the account must come to know what became of theirs meanwhile, or
// nothing changes.
func (a *account) send(ctx context.Context, msgs []*types.Any) (*pending, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for try := 0; ; try++ {
		if try > 1 {
			a.rest(ctx)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := a.learn(ctx); err != nil {
			return nil, err
		}
		p, err := a.sign(ctx, msgs)
		if err != nil {
			return nil, err
		}
		err = a.broadcast(ctx, p)
		var wrong *wrongSequence
		switch {
		case err == nil:
			a.next++
			a.flight = append(a.flight, p)
			return p, nil
		case errors.As(err, &wrong):
			if err := a.recover(ctx, wrong.wanted); err != nil {
				return nil, err
			}
		case errors.Is(err, errLate):
			if _, _, err := a.base(ctx); err != nil { // to see how high the chain is
				return nil, err
			}
		case errors.Is(err, errFull):
		default:
			return nil, err
		}
	}
}

// rest waits with the account free for others; a caller looks at ctx.
func (a *account) rest(ctx context.Context) {
	a.mu.Unlock()
	defer a.mu.Lock()
	_ = pause(ctx, restTime)
}

// learn asks for the account's number and sequence.
func (a *account) learn(ctx context.Context) error {
	if a.known {
		return nil
	}
	b, _, err := a.base(ctx)
	if err != nil {
		return err
	}
	a.number, a.next, a.known = b.AccountNumber, b.Sequence, true
	return nil
}

// base reads the account's record and the height at which it is so.
func (a *account) base(ctx context.Context) (*sdkwire.BaseAccount, int64, error) {
	var res sdkwire.QueryAccountInfoResponse
	height, err := a.client.query(ctx, "/cosmos.auth.v1beta1.Query/AccountInfo", &sdkwire.QueryAccountInfoRequest{Address: string(a.address)}, &res)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, 0, fmt.Errorf("%w: %s has never received anything", ledger.ErrFunds, a.address)
	}
	if err == nil && res.Info == nil {
		err = fmt.Errorf("account %s: the node answered nothing", a.address)
	}
	a.seen = max(a.seen, height)
	return res.Info, height, err
}

// sign makes a transaction of the account's next sequence number.
func (a *account) sign(ctx context.Context, msgs []*types.Any) (*pending, error) {
	chain, err := a.client.chainID(ctx)
	if err != nil {
		return nil, err
	}
	public, err := types.NewAnyWithValue(a.key.PubKey())
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	tip, _ := a.client.height()
	after := max(tip, a.seen)
	last := after + liveBlocks
	body, err1 := proto.Marshal(&tx.TxBody{Messages: msgs, Memo: a.client.memo, TimeoutHeight: uint64(last)})
	info, err2 := proto.Marshal(&tx.AuthInfo{
		SignerInfos: []*tx.SignerInfo{{PublicKey: public, Sequence: a.next,
			ModeInfo: &tx.ModeInfo{Sum: &tx.ModeInfo_Single_{Single: &tx.ModeInfo_Single{Mode: signing.SignMode_SIGN_MODE_DIRECT}}}}},
		Fee: &tx.Fee{GasLimit: gasLimit},
	})
	doc, err3 := proto.Marshal(&tx.SignDoc{BodyBytes: body, AuthInfoBytes: info, ChainId: chain, AccountNumber: a.number})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("transaction: %w", err)
	}
	sig, err := a.key.Sign(doc)
	if err != nil {
		return nil, fmt.Errorf("transaction: %w", err)
	}
	raw, err := proto.Marshal(&tx.TxRaw{BodyBytes: body, AuthInfoBytes: info, Signatures: [][]byte{sig}})
	if err != nil {
		return nil, fmt.Errorf("transaction: %w", err)
	}
	return &pending{sequence: a.next, bytes: raw, hash: [32]byte(cmttypes.Tx(raw).Hash()), after: after, last: last}, nil
}

// wrongSequence is the node's refusal of a sequence number.
type wrongSequence struct{ wanted uint64 }

func (w *wrongSequence) Error() string { return fmt.Sprintf("the node wants sequence %d", w.wanted) }

// errFull is the node's refusal of anything for now, for want of room; errLate that of a transaction
// whose last height is over.
var (
	errFull = errors.New("mempool is full")
	errLate = errors.New("too late for this transaction")
)

// broadcast hands p to the node. No error means that the node may have it: a call
// without an answer counts as that, since p is sent again until it is included.
func (a *account) broadcast(ctx context.Context, p *pending) error {
	r, err := a.client.node.Broadcast(ctx, p.bytes)
	switch {
	case err != nil && strings.Contains(err.Error(), "already exists in cache"):
		return nil
	case err != nil && strings.Contains(err.Error(), errFull.Error()):
		return errFull
	case err != nil && strings.Contains(err.Error(), "too large"):
		return fmt.Errorf("%w: transaction of %d bytes is over the node's bound", ledger.ErrRefused, len(p.bytes))
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil || r.Code == 0:
		return nil
	}
	if wanted, ok := sequenceWanted(r.Codespace, r.Code, r.Log); ok {
		return &wrongSequence{wanted}
	}
	if sdkerrors.ErrMempoolIsFull.Codespace() == r.Codespace && sdkerrors.ErrMempoolIsFull.ABCICode() == r.Code {
		return errFull
	}
	if sdkerrors.ErrTxTimeoutHeight.Codespace() == r.Codespace && sdkerrors.ErrTxTimeoutHeight.ABCICode() == r.Code {
		return errLate
	}
	if a.number != 0 && sdkerrors.ErrUnauthorized.Codespace() == r.Codespace && sdkerrors.ErrUnauthorized.ABCICode() == r.Code &&
		strings.Contains(r.Log, "account number (0)") {
		return errFull // before its first block a node that has just started takes every account for one of genesis
	}
	return refusal(r.Codespace, r.Code, r.Log)
}

// recover finds back to the node's sequence number: transactions that died with
// its mempool are sent again; if the node still wants an older one, all in flight
// are signed anew.
func (a *account) recover(ctx context.Context, wanted uint64) error {
	if wanted < a.next && len(a.flight) > 0 {
		var err error
		if wanted, err = a.resend(ctx); errors.Is(err, errFull) {
			return nil
		} else if err != nil {
			return err
		}
	}
	a.next = wanted
	return nil
}

// resend hands all transactions in flight to the node again, in order, and gives
// the sequence number that comes after them.
func (a *account) resend(ctx context.Context) (uint64, error) {
	b, _, err := a.base(ctx)
	if err != nil {
		return 0, err
	}
	a.flight = slices.DeleteFunc(a.flight, func(p *pending) bool { return p.sequence < b.Sequence })
	next := b.Sequence
	for i, p := range a.flight {
		err := a.broadcast(ctx, p)
		var wrong *wrongSequence
		switch {
		case err == nil, errors.As(err, &wrong) && wrong.wanted > p.sequence:
			next = p.sequence + 1
		case errors.Is(err, errLate):
			// Its number is free, unless it is in a block after b: then the node says so.
			a.drop(i)
			return p.sequence, nil
		case errors.As(err, &wrong):
			// Something before p is missing that is not in flight any more.
			a.drop(i)
			return wrong.wanted, nil
		case errors.Is(err, ledger.ErrRefused), errors.Is(err, ledger.ErrFunds):
			a.drop(i)
			return p.sequence, nil
		default:
			return 0, err
		}
	}
	return next, nil
}

// drop sends the transactions in flight from the i-th on no more: each is signed
// anew when it can no longer be included.
func (a *account) drop(i int) { a.flight = a.flight[:i] }

// follow reads the blocks until p is in one of them or can be in none, and has it
// sent again meanwhile.
func (a *account) follow(ctx context.Context, p *pending) (ledger.Included, error) {
	sent := time.Now()
	for height := p.after + 1; ; {
		if height > p.last {
			a.forget(p)
			return ledger.Included{}, errAgain
		}
		if time.Since(sent) > resendAfter {
			sent = time.Now()
			if err := a.late(ctx, p, height); err != nil {
				return ledger.Included{}, err
			}
		}
		if err := a.client.await(ctx, height, resendAfter); errors.Is(err, errTimeout) {
			continue
		} else if err != nil {
			return ledger.Included{}, err
		}
		results, err := retried(ctx, height, a.client.node.Results)
		if err != nil {
			return ledger.Included{}, err
		}
		if r, ok := results[p.hash]; ok {
			a.forget(p)
			if _, wrong := sequenceWanted(r.Codespace, r.Code, r.Log); !wrong {
				return landed(p, height, r)
			}
			// One before it failed, so it was not executed. But its bytes are public now,
			// and good again for whoever sends them when its number comes.
		}
		height++
	}
}

// forget takes a transaction out of the flight.
func (a *account) forget(p *pending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flight = slices.DeleteFunc(a.flight, func(q *pending) bool { return q == p })
}

// landed is the end of a transaction that was executed in a block.
func landed(p *pending, height int64, r Result) (ledger.Included, error) {
	in := ledger.Included{Height: height, TxHash: fmt.Sprintf("%X", p.hash)}
	if r.Code == 0 {
		return in, nil
	}
	return in, refusal(r.Codespace, r.Code, r.Log)
}

// late looks after a transaction that is in no block below height: it is sent
// again, or signed again if another one took its sequence number.
func (a *account) late(ctx context.Context, p *pending, height int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, at, err := a.base(ctx)
	if err != nil { // only the caller gives up: the next look comes soon
		a.rest(ctx)
		return ctx.Err()
	}
	if b.Sequence > p.sequence {
		if at >= height {
			return nil // it may be in a block that was not read yet
		}
		a.flight = slices.DeleteFunc(a.flight, func(q *pending) bool { return q == p })
		return errAgain
	}
	if time.Since(a.resent) < resendAfter/2 {
		return nil // with another one of this account
	}
	a.resent = time.Now()
	next, err := a.resend(ctx)
	if err != nil {
		a.rest(ctx)
		return ctx.Err()
	}
	a.next = next
	return nil
}
