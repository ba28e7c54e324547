package chainnode

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// net4 is four validators in one process.
type net4 struct {
	homes, addrs, peers []string
	nodes               []*Node
	watch               *Watch
	log                 logged
}

// logged is what nodes say. They may say something after they ended.
type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) showIfFailed(t *testing.T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.Failed() {
		t.Log(l.text.String())
	}
}

func newNet4(t *testing.T, watch *Watch) *net4 {
	w := &net4{nodes: make([]*Node, 4), watch: watch}
	t.Cleanup(func() { w.log.showIfFailed(t) })
	g := app.GenesisConfig{Chain: "gotong-four", Time: time.Now(), Params: lifecycle.LocalParams()}
	for i := range 4 {
		home := t.TempDir()
		k, err := MakeKeys(home)
		if err != nil {
			t.Fatal(err)
		}
		account, err := bech32.ConvertAndEncode("gotong", []byte{byte(i), 19: 1})
		if err != nil {
			t.Fatal(err)
		}
		g.Validators = append(g.Validators, k.Validator(work.Address(account), 10*work.UgtgPerGtg))
		w.homes, w.addrs = append(w.homes, home), append(w.addrs, freeAddress(t))
		w.peers = append(w.peers, k.Peer+"@"+w.addrs[i])
	}
	for i, home := range w.homes {
		if err := WriteGenesis(home, g); err != nil {
			t.Fatal(err)
		}
		w.start(t, i, nil)
	}
	return w
}

func (w *net4) start(t *testing.T, i int, sync *StateSync) {
	t.Helper()
	w.nodes[i] = w.open(t, i, w.homes[i], w.addrs[i], sync)
	if err := w.nodes[i].Start(); err != nil {
		t.Fatal(err)
	}
}

// open opens a home as the i-th validator.
func (w *net4) open(t *testing.T, i int, home, address string, sync *StateSync) *Node {
	t.Helper()
	n, err := Open(home, Config{P2P: address, RPC: "127.0.0.1:0", Peers: slices.Concat(w.peers[:i], w.peers[i+1:]),
		BlockTime: 50 * time.Millisecond, Conserve: true, SnapshotEvery: 10, Snapshots: 20, Sync: sync, Watch: w.watch, // more snapshots than come while they are looked for
		Log: slog.New(slog.NewTextHandler(&w.log, nil)).With("node", i)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	return n
}

func (w *net4) height(t *testing.T, i int) int64 {
	t.Helper()
	info, err := w.nodes[i].Client().ABCIInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Response.LastBlockHeight
}

// signed reports whether a validator's vote is in the commit of a height, and who
// proposed it.
func (w *net4) signed(t *testing.T, by, i int, height int64) (signed, proposed bool) {
	t.Helper()
	k, err := ReadKeys(w.homes[i])
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.nodes[by].Client().Commit(t.Context(), &height)
	if err != nil {
		t.Fatal(err)
	}
	address := addressOf(k.Consensus)
	for _, s := range c.Commit.Signatures {
		signed = signed || string(s.ValidatorAddress) == address
	}
	return signed, string(c.ProposerAddress) == address
}

// TestFourValidators loses one of four, whose turns to propose pass to the others, who
// go on with the beacon; it comes back without its blocks, begins from a snapshot, and
// votes and proposes again. Two lost halt the chain, and it goes on when they are
// back.
func TestFourValidators(t *testing.T) {
	t.Parallel()
	w := newNet4(t, nil)
	for i := range w.nodes {
		await(t, w.nodes[i], 5)
	}
	if err := w.nodes[3].Stop(); err != nil {
		t.Fatal(err)
	}
	await(t, w.nodes[0], w.height(t, 0)+20) // two turns of the absent one, and a snapshot

	trusted := int64(2)
	c, err := w.nodes[0].Client().Commit(t.Context(), &trusted)
	if err != nil {
		t.Fatal(err)
	}
	// What it signed last stays, or it could sign twice.
	for _, part := range []string{"application.db", "blockstore.db", "state.db", "cs.wal", "evidence.db", "snapshots"} {
		if err := os.RemoveAll(filepath.Join(w.homes[3], "data", part)); err != nil {
			t.Fatal(err)
		}
	}
	w.start(t, 3, &StateSync{RPCs: []string{w.nodes[0].RPC(), w.nodes[1].RPC()}, TrustHeight: trusted, TrustHash: c.Header.Hash()})
	await(t, w.nodes[3], w.height(t, 0)+5)
	await(t, w.nodes[3], w.height(t, 3)+2) // the snapshot may be of a later height; now it has blocks too
	status, err := w.nodes[3].Client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.SyncInfo.EarliestBlockHeight < 10 {
		t.Errorf("it has blocks from %d on: it did not begin from a snapshot", status.SyncInfo.EarliestBlockHeight)
	}
	voted, proposed := false, false
	for from := w.height(t, 0); !voted || !proposed; from++ {
		await(t, w.nodes[0], from+1)
		v, p := w.signed(t, 0, 3, from)
		voted, proposed = voted || v, proposed || p
	}

	for _, i := range []int{2, 3} {
		if err := w.nodes[i].Stop(); err != nil {
			t.Fatal(err)
		}
	}
	halted := w.height(t, 0)
	time.Sleep(2 * time.Second)
	if now := w.height(t, 0); now > halted+1 {
		t.Errorf("half of the power went on from %d to %d", halted, now)
	}
	for _, i := range []int{2, 3} {
		w.start(t, i, nil)
	}
	for i := range w.nodes {
		await(t, w.nodes[i], halted+3)
	}
}

// addressOf is a validator's address in blocks.
func addressOf(key []byte) string { return string(cmted25519.PubKey(key).Address()) }
