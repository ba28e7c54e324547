package chainnode

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
)

// copyHome copies a validator's home as it is.
func copyHome(t *testing.T, home string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(home)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// ballots are the votes of one key that several nodes heard of, by place: what a
// chain punishes is two blocks at one.
type ballots struct {
	mu   sync.Mutex // guards what follows
	seen map[place]map[string]bool
}

func (b *ballots) hear(t *testing.T, n *Node, address string) {
	t.Helper()
	// Before the node starts, so that no vote is missed.
	sub, err := n.comet.EventBus().Subscribe(context.Background(), "ballots", cmttypes.EventQueryVote, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			select {
			case <-t.Context().Done():
				return
			case <-sub.Canceled():
				return
			case m := <-sub.Out():
				v := m.Data().(cmttypes.EventDataVote).Vote
				if string(v.ValidatorAddress) != address {
					continue
				}
				b.mu.Lock()
				at := placeOf(v.Height, v.Round, v.Type)
				if b.seen == nil {
					b.seen = map[place]map[string]bool{}
				}
				if b.seen[at] == nil {
					b.seen[at] = map[string]bool{}
				}
				b.seen[at][v.BlockID.String()] = true
				b.mu.Unlock()
			}
		}
	}()
}

// check gives the number of votes, and fails if two at one place differ.
func (b *ballots) check(t *testing.T) int {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, blocks := range b.seen {
		if len(blocks) > 1 {
			t.Errorf("the key signed %d different things at %+v", len(blocks), at)
		}
	}
	return len(b.seen)
}

// TestCopyWhileTheOriginalSyncs starts a copy of a validator's home in the very moment
// in which the original fetches the blocks that it missed, and neither signs yet: at
// most one of them ever does, and nothing is signed twice.
func TestCopyWhileTheOriginalSyncs(t *testing.T) {
	t.Parallel()
	w := newNet4(t, &Watch{Patience: 2 * time.Second})
	await(t, w.nodes[0], 5)
	if err := w.nodes[3].Stop(); err != nil {
		t.Fatal(err)
	}
	await(t, w.nodes[0], w.height(t, 0)+8)
	k, err := ReadKeys(w.homes[3])
	if err != nil {
		t.Fatal(err)
	}
	w.watch = &Watch{Patience: 2 * time.Second, RPCs: []string{w.nodes[0].RPC(), w.nodes[1].RPC()}}
	copied := copyHome(t, w.homes[3])
	// With a peer key of its own: two peers with one key push each other out, and mostly
	// neither gets far enough to sign.
	if err := os.Remove(peerFile(copied)); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeKeys(copied); err != nil {
		t.Fatal(err)
	}
	twin := w.open(t, 3, copied, freeAddress(t), nil)
	original := w.open(t, 3, w.homes[3], w.addrs[3], nil)
	w.nodes[3] = original
	var heard ballots
	for _, n := range []*Node{twin, original} {
		heard.hear(t, n, addressOf(k.Consensus))
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	// One of them signs, and the other one, or both, find that out.
	var failed *Node
	select {
	case <-twin.Failed():
		failed = twin
	case <-original.Failed():
		failed = original
	}
	if err := failed.Err(); !errors.Is(err, ErrSignsElsewhere) {
		t.Errorf("it fails with %v", err)
	}
	if !failed.signer.silent() {
		t.Error("it goes on signing")
	}
	if err := failed.Stop(); err != nil {
		t.Fatal(err)
	}
	from := w.height(t, 0)
	await(t, w.nodes[0], from+6)
	t.Logf("the copy failed: %v; the original: %v; %d votes of the key", twin.Err() != nil, original.Err() != nil, heard.check(t))
	for h := from - 5; h <= from+6; h++ {
		b, err := w.nodes[0].Client().Block(t.Context(), &h)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Block.Evidence.Evidence) > 0 {
			t.Errorf("block %d has evidence of two signatures", h)
		}
	}
}

// TestCopyOfARunningValidator refuses a copy whose original signs: the original goes
// on.
func TestCopyOfARunningValidator(t *testing.T) {
	t.Parallel()
	w := newNet4(t, &Watch{Patience: 2 * time.Second})
	for i := range w.nodes {
		w.awaitSignature(t, i)
	}
	// The copy is taken while the original stands: of a home that is written to it would
	// be another one.
	if err := w.nodes[3].Stop(); err != nil {
		t.Fatal(err)
	}
	copied := copyHome(t, w.homes[3])
	w.start(t, 3, nil)
	w.awaitSignature(t, 3)
	w.watch = &Watch{Patience: 2 * time.Second, RPCs: []string{w.nodes[0].RPC(), w.nodes[1].RPC()}}
	twin := w.open(t, 3, copied, freeAddress(t), nil)
	if err := twin.Start(); err != nil {
		t.Fatal(err)
	}
	<-twin.Failed()
	if err := twin.Err(); !errors.Is(err, ErrSignsElsewhere) {
		t.Errorf("the copy fails with %v", err)
	}
	w.awaitSignature(t, 3)
	if err := w.nodes[3].Err(); err != nil {
		t.Errorf("the original: %v", err)
	}
}

// awaitSignature waits until a validator's signature is in a block from now on.
func (w *net4) awaitSignature(t *testing.T, i int) {
	t.Helper()
	for from := max(1, w.height(t, 0)); ; from++ {
		await(t, w.nodes[0], from+1)
		if signed, _ := w.signed(t, 0, i, from); signed {
			return
		}
	}
}

// TestAllWatchAtOnce restarts all validators at the same time: each may be the one for
// which the chain waits, and it goes on. The founding is the first time.
func TestAllWatchAtOnce(t *testing.T) {
	t.Parallel()
	w := newNet4(t, &Watch{Patience: 500 * time.Millisecond})
	await(t, w.nodes[0], 3)
	for i := range w.nodes {
		if err := w.nodes[i].Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range w.nodes {
		w.start(t, i, nil)
	}
	for i := range w.nodes {
		await(t, w.nodes[i], w.height(t, i)+3)
		w.awaitSignature(t, i)
	}
}

// silent reports whether the signer stopped for good.
func (s *signer) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == stopped && s.cause != nil
}

// TestWatchOfALoneValidator shows a copy of a chain's only validator the blocks that
// the original made, through its RPC server only; and a home whose key nobody uses.
func TestWatchOfALoneValidator(t *testing.T) {
	t.Parallel()
	home := initHome(t)
	before := copyHome(t, home)
	n := start(t, home)
	await(t, n, 3)
	open := func(rpcs ...string) *Node {
		t.Helper()
		c, err := Open(before, Config{BlockTime: 20 * time.Millisecond, Watch: &Watch{Patience: time.Second, RPCs: rpcs}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Stop() })
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	twin := open(n.RPC())
	<-twin.Failed()
	if err := twin.Err(); !errors.Is(err, ErrSignsElsewhere) {
		t.Errorf("the copy fails with %v", err)
	}
	if err := errors.Join(twin.Stop(), n.Stop()); err != nil {
		t.Fatal(err)
	}
	await(t, open(n.RPC()), 2) // nobody answers, so the chain waits for this node
	if _, err := Open(t.TempDir(), Config{Watch: &Watch{RPCs: []string{"nowhere://"}}}); err == nil {
		t.Error("a server without an address is taken")
	}
}

// bench is a signer among commits that a test makes.
type bench struct {
	t       *testing.T
	signer  *signer
	other   *signer // has the same key
	commits map[int64]*cmttypes.Commit
	cause   error
}

func (b *bench) LoadBlockCommit(h int64) *cmttypes.Commit { return b.commits[h] }
func (b *bench) LoadSeenCommit(int64) *cmttypes.Commit    { return nil }

func newBench(t *testing.T) *bench {
	home := initHome(t)
	b := &bench{t: t, commits: map[int64]*cmttypes.Commit{}}
	make := func(home string) *signer {
		keys, err := loadKeys(home)
		if err != nil {
			t.Fatal(err)
		}
		n := &Node{chain: "gotong-test", config: Config{}.withDefaults(), failed: make(chan struct{})}
		s := n.newSigner(home, keys)
		s.blocks, s.look, s.stop = b, lookBlocks, func(err error) { b.cause = err }
		return s
	}
	b.other = make(copyHome(t, home))
	b.signer = make(home)
	return b
}

// vote asks a signer for a precommit for a block, and puts it into the commit of its
// height if it is given.
func (b *bench) vote(s *signer, height int64) error {
	id := cmttypes.BlockID{Hash: make([]byte, 32), PartSetHeader: cmttypes.PartSetHeader{Total: 1, Hash: make([]byte, 32)}}
	v := cmttypes.Vote{Type: cmtproto.PrecommitType, Height: height, BlockID: id, Timestamp: time.Now(), ValidatorAddress: s.key.Key.Address}
	p := v.ToProto()
	b.commits[height] = &cmttypes.Commit{Height: height, BlockID: id, Signatures: []cmttypes.CommitSig{cmttypes.NewCommitSigAbsent()}}
	if err := s.SignVote("gotong-test", p); err != nil {
		return err
	}
	b.commits[height].Signatures[0] = cmttypes.CommitSig{BlockIDFlag: cmttypes.BlockIDFlagCommit, ValidatorAddress: v.ValidatorAddress, Timestamp: p.Timestamp, Signature: p.Signature}
	return nil
}

// prevote asks for a vote that another node with the key could give otherwise.
func (b *bench) prevote(s *signer, height int64) error {
	v := cmttypes.Vote{Type: cmtproto.PrevoteType, Height: height, Timestamp: time.Now(), ValidatorAddress: s.key.Key.Address}
	return s.SignVote("gotong-test", v.ToProto())
}

// absent lets the chain go on without the key.
func (b *bench) absent(heights ...int64) {
	for _, h := range heights {
		b.commits[h] = &cmttypes.Commit{Height: h, Signatures: []cmttypes.CommitSig{cmttypes.NewCommitSigAbsent()}}
	}
}

// TestSignerPhases leads a signer through its phases by the commits of the chain, and
// back: after some blocks without it, it proves itself again.
func TestSignerPhases(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for h := int64(10); h < 10+lookBlocks+1; h++ {
		if err := errors.Join(b.prevote(b.signer, h), b.vote(b.signer, h)); !errors.Is(err, errNotYet) {
			t.Fatalf("block %d: it signs while it looks: %v", h, err)
		}
	}
	h := int64(10 + lookBlocks + 1)
	if err := b.prevote(b.signer, h); !errors.Is(err, errNotYet) {
		t.Errorf("a vote before it proved itself: %v", err)
	}
	if err := b.signer.SignProposal("gotong-test", &cmtproto.Proposal{Height: h}); !errors.Is(err, errNotYet) {
		t.Errorf("a proposal before it proved itself: %v", err)
	}
	if err := errors.Join(b.vote(b.signer, h), b.vote(b.signer, h+1)); err != nil {
		t.Fatalf("it does not prove itself: %v", err)
	}
	if err := b.prevote(b.signer, h+2); err != nil {
		t.Fatalf("the chain has its signature, and it does not sign: %v", err)
	}
	// Cut off, it comes back to a chain that went on.
	b.absent(h+1, h+2, h+3, h+4)
	if err := b.prevote(b.signer, h+4); err != nil {
		t.Errorf("two commits without it: %v", err)
	}
	if err := b.prevote(b.signer, h+5); !errors.Is(err, errNotYet) {
		t.Errorf("%d commits without it, and it signs what another node could sign otherwise: %v", absentBlocks, err)
	}
	if b.cause != nil {
		t.Error(b.cause)
	}
}

// TestSignerMeetsAnother lets two signers with one key prove themselves in the same
// block, and a third come to a height that its home signed in an earlier life.
func TestSignerMeetsAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for h := int64(10); h < 10+lookBlocks+1; h++ {
		_ = b.vote(b.other, h)
		_ = b.vote(b.signer, h)
	}
	h := int64(10 + lookBlocks + 1)
	if err := errors.Join(b.vote(b.signer, h), b.vote(b.other, h)); err != nil {
		t.Fatal(err)
	}
	// The commit has the signature of the one that voted last here.
	b.absent(h + 1)
	if err := b.prevote(b.signer, h+2); !errors.Is(err, ErrSignsElsewhere) || !errors.Is(b.cause, ErrSignsElsewhere) {
		t.Errorf("the one that the chain did not take: %v, %v", err, b.cause)
	}
	if err := b.prevote(b.other, h+2); err != nil {
		t.Errorf("the one that the chain took: %v", err)
	}
}

// TestSignerHears stops at a vote of its key that it hears of, but not at one of the
// home's earlier life, nor, restored from a copy, at one of the height under way,
// which may be the lost machine's.
func TestSignerHears(t *testing.T) {
	t.Parallel()
	heard := func(height int64) []*cmttypes.Vote {
		return []*cmttypes.Vote{{Type: cmtproto.PrecommitType, Height: height, Signature: []byte("another's")}}
	}
	b := newBench(t)
	b.signer.before = place{10, 0, stepPrecommit}
	b.signer.see(10, heard(10))
	if b.cause != nil {
		t.Errorf("a vote of an earlier life: %v", b.cause)
	}
	b.signer.see(11, heard(11))
	if !errors.Is(b.cause, ErrSignsElsewhere) {
		t.Errorf("a vote that another node made: %v", b.cause)
	}

	b = newBench(t)
	b.signer.restored = true
	if err := os.WriteFile(b.signer.mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.signer.see(10, heard(10))
	if b.cause != nil {
		t.Errorf("a vote of the lost machine: %v", b.cause)
	}
	if b.signer.release(10); !b.signer.waits() || !exists(b.signer.mark) {
		t.Error("a restored validator signs at the height at which the lost one may have voted")
	}
	b.absent(10, 11, 12, 13)
	if err := b.vote(b.signer, 15); err != nil {
		t.Errorf("the chain moved on: %v", err)
	}
	if exists(b.signer.mark) {
		t.Error("the mark of the restored home stays though the chain moved")
	}
	b.signer.see(16, heard(16))
	if !errors.Is(b.cause, ErrSignsElsewhere) {
		t.Errorf("a vote that another node made later: %v", b.cause)
	}
}

// TestSignerReleases gives the votes that a chain that stands waits for.
func TestSignerReleases(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := errors.Join(b.prevote(b.signer, 10), b.vote(b.signer, 10)); !errors.Is(err, errNotYet) {
		t.Fatal(err)
	}
	votes := b.signer.release(10)
	if len(votes) != 2 || votes[0].Type != cmtproto.PrevoteType || votes[1].Type != cmtproto.PrecommitType {
		t.Fatalf("votes %v", votes)
	}
	if v := votes[1]; len(v.Extension)+len(v.ExtensionSignature) > 0 {
		t.Errorf("%v has an extension: CometBFT does not take it", v)
	}
	if err := b.prevote(b.signer, 11); err != nil {
		t.Errorf("after the release: %v", err)
	}
	// The chain did not wait for it: it proves itself like others.
	b.absent(9, 10, 11)
	if err := b.prevote(b.signer, 12); !errors.Is(err, errNotYet) {
		t.Errorf("blocks without it after the release: %v", err)
	}
}
