package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/p2p/mem"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

func newKey(t testing.TB) sign.PrivateKey {
	t.Helper()
	key, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// world is a hub with one node that fetches.
type world struct {
	t   testing.TB
	hub *mem.Hub
	me  p2p.Network
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, hub: mem.NewHub()}
	w.me = w.node()
	return w
}

func (w *world) node() p2p.Network {
	n := w.hub.New(newKey(w.t))
	w.t.Cleanup(func() { n.Close() })
	return n
}

// holder serves a store.
func (w *world) holder(s Local) p2p.Peer {
	n := w.node()
	n.Handle(p2p.ProtocolBlob, Server(s, ServerOptions{}))
	return n.Self()
}

func (w *world) fetcher(s Local) *NetFetcher { return newFetcher(w.t, w.me, s) }

func newFetcher(t testing.TB, n p2p.Network, s Local) *NetFetcher {
	f := NewFetcher(n, s, FetcherOptions{StallTime: 20 * time.Second})
	t.Cleanup(func() { f.Close() })
	return f
}

// liar flips a byte of every large blob and every answer it reads.
type liar struct{ *Mem }

func (l liar) Get(b work.BlobID, maxBytes uint64) ([]byte, error) {
	data, err := l.Mem.Get(b, maxBytes)
	if len(data) > 0 {
		data[len(data)/2] ^= 1
	}
	return data, err
}

func (l liar) Open(b work.BlobID) (runtime.BlobReader, error) {
	r, err := l.Mem.Open(b)
	return &liarReader{BlobReader: r}, err
}

// liarReader lies in every second group; the tree was built from the truth
// elsewhere.
type liarReader struct {
	runtime.BlobReader
}

func (r *liarReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.BlobReader.ReadAt(p, off)
	if len(p) == groupSize && off%(2*groupSize) == 0 {
		p[0] ^= 1
	}
	return n, err
}

// trueTree gives the server of a liar a tree that fits the name.
func liarServer(t *testing.T, l liar, b work.BlobID) p2p.Handler {
	t.Helper()
	an := newAnswers(l)
	if b.Size > groupSize {
		good := newAnswers(l.Mem)
		tr, err := good.trees.get(b)
		if err != nil {
			t.Fatal(err)
		}
		entry := &treeEntry{b: b, ready: make(chan struct{}), tree: tr}
		close(entry.ready)
		an.trees.byID[b] = an.trees.order.PushFront(entry)
	}
	return func(_ context.Context, s p2p.Stream) {
		a := newAsked(s, an, nil)
		defer a.close()
		a.next()
	}
}

var netSizes = []int{0, 1, smallBytes + 1, groupSize - 1, groupSize, groupSize + 1, rangeBytes, rangeBytes + 1, 5*rangeBytes + 12345}

func TestFetch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from, to := NewMem(), open(t, t.TempDir(), Options{})
	h := []p2p.Peer{w.holder(from)}
	f := w.fetcher(to)
	var all []work.BlobID
	for i, size := range netSizes {
		data := content(uint64(i), size)
		b := put(t, from, data)
		if err := f.Fetch(t.Context(), b, h); err != nil {
			t.Fatal(err)
		}
		wantGet(t, to, b, data)
		all = append(all, b)
	}
	if err := f.Fetch(t.Context(), work.BlobOf([]byte("nobody has this")), h); !errors.Is(err, ErrMissing) {
		t.Fatalf("fetch of a missing blob: %v", err)
	}
	if err := f.Fetch(t.Context(), work.BlobOf(content(200, 200_000)), h); !errors.Is(err, ErrMissing) {
		t.Fatalf("fetch of a missing large blob: %v", err)
	}
	if err := f.Fetch(t.Context(), work.BlobOf([]byte("x")), nil); !errors.Is(err, ErrMissing) {
		t.Fatalf("fetch from nobody: %v", err)
	}
	huge := work.BlobID{Root: work.Hash{1}, Size: DefaultMaxBlobBytes + 1}
	if err := f.Fetch(t.Context(), huge, h); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("fetch over the bound: %v", err)
	}
	if err := f.Fetch(t.Context(), work.BlobID{Root: work.Hash{1}}, h); !errors.Is(err, ErrMissing) {
		t.Fatalf("fetch of nothing under a wrong root: %v", err)
	}

	again := NewMem()
	if err := w.fetcher(again).FetchMany(t.Context(), append(all, all...), h); err != nil {
		t.Fatal(err)
	}
	for i, b := range all {
		wantGet(t, again, b, content(uint64(i), netSizes[i]))
	}
}

func TestFetchManySmall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := NewMem(), NewMem()
	var all []work.BlobID
	for i := range 1000 {
		s := a
		if i%3 == 0 {
			s = b
		}
		all = append(all, put(t, s, content(uint64(i), 100+i)))
	}
	to := open(t, t.TempDir(), Options{})
	f := w.fetcher(to)
	holders := []p2p.Peer{w.holder(a), w.holder(b)}
	if err := f.FetchMany(t.Context(), all[:300], holders); err != nil {
		t.Fatal(err)
	}
	lost := work.BlobOf([]byte("nobody has this"))
	err := f.FetchMany(t.Context(), append([]work.BlobID{lost}, all...), holders)
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("fetch with a missing blob: %v", err)
	}
	for i, id := range all {
		wantGet(t, to, id, content(uint64(i), 100+i))
	}
}

func TestCorruptHolder(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 40_000, 6 * rangeBytes} {
		w := newWorld(t)
		data := content(1, size)
		good := NewMem()
		b := put(t, good, data)
		bad := w.node()
		bad.Handle(p2p.ProtocolBlob, liarServer(t, liar{good}, b))
		to := NewMem()
		f := w.fetcher(to)
		if err := f.Fetch(t.Context(), b, []p2p.Peer{bad.Self()}); !errors.Is(err, ErrCorrupt) || to.Has(b) {
			t.Fatalf("%d bytes from a liar: %v", size, err)
		}
		if err := f.Fetch(t.Context(), b, []p2p.Peer{bad.Self(), w.holder(good)}); err != nil {
			t.Fatalf("%d bytes from a liar and an honest holder: %v", size, err)
		}
		wantGet(t, to, b, data)
	}
}

// The size is part of the name: right bytes under a wrong size do not verify.
func TestWrongSizeClaimed(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5000, 3 * rangeBytes} {
		w := newWorld(t)
		data := content(1, size)
		real := work.BlobOf(data)
		for _, claimed := range []uint64{real.Size - 1, real.Size + 1, real.Size / 2} {
			b := work.BlobID{Root: real.Root, Size: claimed}
			tr, err := buildTree(real, bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			n := w.node()
			n.Handle(p2p.ProtocolBlob, func(_ context.Context, s p2p.Stream) {
				for {
					frame, err := s.Receive()
					if err != nil {
						return
					}
					r, err := decodeRequest(frame)
					if err != nil {
						return
					}
					answer := []byte{kindData}
					if real.Size <= groupSize {
						answer = append(answer, data...)
					} else {
						answer, _ = tr.appendSlice(answer, bytes.NewReader(data), real.Size, r.off, min(r.n, real.Size-min(real.Size, r.off)))
					}
					s.Send(answer)
					s.Flush()
				}
			})
			to := NewMem()
			if err := w.fetcher(to).Fetch(t.Context(), b, []p2p.Peer{n.Self()}); !errors.Is(err, ErrCorrupt) || to.Has(b) {
				t.Fatalf("%d bytes as %d: %v", size, claimed, err)
			}
		}
	}
}

// cutting counts the ranges served and lets the link be cut among them.
type cutting struct {
	*Mem
	served atomic.Int64 // groups
	at     int64
	cut    func()
}

func (c *cutting) Open(b work.BlobID) (runtime.BlobReader, error) {
	r, err := c.Mem.Open(b)
	return &cuttingReader{r, c}, err
}

type cuttingReader struct {
	runtime.BlobReader
	c *cutting
}

func (r *cuttingReader) ReadAt(p []byte, off int64) (int, error) {
	if r.c.served.Add(1) == r.c.at {
		r.c.cut()
	}
	return r.BlobReader.ReadAt(p, off)
}

func TestCutResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 40 * rangeBytes
	const groups = size / groupSize
	data := content(1, size)
	store := &cutting{Mem: NewMem()}
	b := put(t, store, data)
	h := w.holder(store)
	a, z := w.me.Self().Key, h.Key
	store.cut = func() { w.hub.Cut(a, z) }
	store.at = groups + groups/2 // the tree is read first, then half the ranges
	to := open(t, t.TempDir(), Options{})
	f := w.fetcher(to)
	if err := f.Fetch(t.Context(), b, []p2p.Peer{h}); !errors.Is(err, p2p.ErrUnreachable) {
		t.Fatalf("fetch over a link that is cut: %v", err)
	}
	if to.Has(b) {
		t.Fatal("half a blob is there")
	}
	w.hub.Heal(a, z)
	store.served.Store(0)
	if err := f.Fetch(t.Context(), b, []p2p.Peer{h}); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
	// The tree is kept, so all that is read now is what was missing: half, and
	// what was on its way.
	if n := store.served.Load(); n > groups/2+window*maxPiece+2*rangeGroups {
		t.Fatalf("%d of %d groups were served again", n, groups)
	}
}

// Half from one holder, half from another.
func TestNextHolderGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 40 * rangeBytes
	data := content(1, size)
	first := &cutting{Mem: NewMem()}
	b := put(t, first, data)
	h1 := w.holder(first)
	first.cut = func() { w.hub.Cut(w.me.Self().Key, h1.Key) }
	first.at = size/groupSize + size/groupSize/2
	second := &cutting{Mem: NewMem(), cut: func() {}}
	put(t, second, data)
	to := NewMem()
	if err := w.fetcher(to).Fetch(t.Context(), b, []p2p.Peer{h1, w.holder(second)}); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
	// Both read the blob once for its tree; hardly a group came from both.
	const groups = size / groupSize
	if n := first.served.Load() + second.served.Load() - 2*groups; n > groups+2*window*maxPiece {
		t.Fatalf("the holders served %d groups of a blob of %d", n, groups)
	}
}

func TestSingleFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 10 * rangeBytes
	store := &cutting{Mem: NewMem(), cut: func() {}}
	b := put(t, store, content(1, size))
	h := []p2p.Peer{w.holder(store)}
	to := NewMem()
	f := w.fetcher(to)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Fetch(gone, b, h); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled fetch: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := f.Fetch(t.Context(), b, h); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := store.served.Load(); n > 2*size/groupSize+size/groupSize {
		t.Fatalf("%d groups were read for one blob of %d", n, size/groupSize)
	}
}

func TestFetchIntoFullStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := NewMem()
	b := put(t, from, content(1, 3*rangeBytes))
	to := open(t, t.TempDir(), Options{MaxBytes: 2 * rangeBytes})
	f := w.fetcher(to)
	if err := f.Fetch(t.Context(), b, []p2p.Peer{w.holder(from)}); !errors.Is(err, ErrFull) {
		t.Fatalf("fetch into a full store: %v", err)
	}
	if n, _ := to.Size(); n != 0 {
		t.Fatalf("%d bytes stayed after a failed fetch", n)
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from, to := NewMem(), open(t, t.TempDir(), Options{MaxBytes: 20 * rangeBytes})
	server := w.node()
	me := w.me.Self().Key
	refused := put(t, from, []byte("nobody wants this"))
	server.Handle(p2p.ProtocolBlob, Server(to, ServerOptions{
		AcceptPush: func(peer sign.PublicKey, b work.BlobID) bool { return peer == me && b != refused },
	}))
	var all []work.BlobID
	for i, size := range netSizes {
		all = append(all, put(t, from, content(uint64(i), size)))
	}
	for i := range maxOffer { // more than one offer
		all = append(all, put(t, from, content(uint64(1000+i), 50)))
	}
	for range 2 { // the second time everything is there
		if err := Push(t.Context(), w.me, server.Self(), from, all); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range all {
		want, _ := from.Get(b, b.Size)
		wantGet(t, to, b, want)
	}
	if err := Push(t.Context(), w.me, server.Self(), from, []work.BlobID{refused}); !errors.Is(err, ErrRefused) || to.Has(refused) {
		t.Fatalf("push of what is not wanted: %v", err)
	}
	huge := put(t, from, content(7, 30*rangeBytes))
	if err := Push(t.Context(), w.me, server.Self(), from, []work.BlobID{huge}); !errors.Is(err, ErrFull) {
		t.Fatalf("push into a full store: %v", err)
	}
	if err := Push(t.Context(), w.me, server.Self(), from, []work.BlobID{work.BlobOf([]byte("?"))}); !errors.Is(err, ErrMissing) {
		t.Fatalf("push of what is not here: %v", err)
	}
	other := w.node()
	fresh := []work.BlobID{put(t, from, []byte("not there yet"))}
	if err := Push(t.Context(), other, server.Self(), from, fresh); !errors.Is(err, ErrRefused) {
		t.Fatalf("push by a stranger: %v", err)
	}
	readOnly := w.holder(NewMem())
	if err := Push(t.Context(), w.me, readOnly, from, all); !errors.Is(err, ErrRefused) {
		t.Fatalf("push to who takes nothing: %v", err)
	}
	// A pusher who lies.
	n := w.node()
	n.Handle(p2p.ProtocolBlob, Server(NewMem(), ServerOptions{AcceptPush: func(sign.PublicKey, work.BlobID) bool { return true }}))
	if err := Push(t.Context(), w.me, n.Self(), liar{from}, []work.BlobID{all[3]}); err == nil {
		t.Fatal("wrong bytes were taken")
	}
}

// Strangers' garbage costs them their stream and nobody else anything.
func TestServerBadPeers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := NewMem()
	b := put(t, from, content(1, 2*rangeBytes))
	h := w.holder(from)
	for name, frame := range map[string][]byte{
		"empty":            {},
		"unknown kind":     {99},
		"truncated":        encodeGet(b, 0, 10)[:20],
		"trailing":         append(encodeGet(b, 0, 10), 0),
		"empty range":      encodeGet(b, 0, 0),
		"range too long":   encodeGet(b, 0, rangeBytes+1),
		"unaligned":        encodeGet(b, 1, 10),
		"past the end":     encodeGet(b, rangeBytes, rangeBytes+1),
		"overflow":         encodeGet(b, 1<<63, 10),
		"end from nowhere": encodeEnd([]status{0}),
		"empty offer":      encodeOffer(nil),
		"huge offer":       encodeOffer(make([]work.BlobID, maxOffer+1)),
		"large":            make([]byte, 4<<20),
	} {
		s, err := w.me.Dial(t.Context(), h, p2p.ProtocolBlob)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(frame)
		s.Flush()
		if got, err := s.Receive(); err == nil {
			t.Errorf("%s: an answer of %d bytes", name, len(got))
		}
		s.Close()
	}
	if err := w.fetcher(NewMem()).Fetch(t.Context(), b, []p2p.Peer{h}); err != nil {
		t.Fatal(err)
	}
}

func TestServerBoundsStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := NewMem()
	b := put(t, from, []byte("x"))
	h := w.holder(from)
	ask := func(n p2p.Network) (p2p.Stream, error) {
		s, err := n.Dial(t.Context(), h, p2p.ProtocolBlob)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(encodeGet(b, 0, 1))
		s.Flush()
		_, err = s.Receive()
		return s, err
	}
	var open []p2p.Stream
	for range maxStreamsPerPeer {
		s, err := ask(w.me)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if _, err := ask(w.me); err == nil {
		t.Fatal("a peer has more streams than allowed")
	}
	if _, err := ask(w.node()); err != nil {
		t.Fatalf("another peer: %v", err)
	}
	for _, s := range open {
		s.Close()
	}
}

// A holder that answers nothing is given up.
func TestStalledHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := NewMem()
	data := content(1, 100)
	b := put(t, good, data)
	silent := w.node()
	silent.Handle(p2p.ProtocolBlob, func(ctx context.Context, s p2p.Stream) { <-ctx.Done() })
	to := NewMem()
	f := NewFetcher(w.me, to, FetcherOptions{StallTime: time.Second})
	defer f.Close()
	if err := f.Fetch(t.Context(), b, []p2p.Peer{silent.Self(), w.holder(good)}); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
}

// A pooled session that the holder closed meanwhile is opened anew.
func TestHolderRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from, key := NewMem(), newKey(t)
	b1, b2 := put(t, from, []byte("before")), put(t, from, []byte("after"))
	f := w.fetcher(NewMem())
	for _, b := range []work.BlobID{b1, b2} {
		n := w.hub.New(key)
		n.Handle(p2p.ProtocolBlob, Server(from, ServerOptions{}))
		if err := f.Fetch(t.Context(), b, []p2p.Peer{n.Self()}); err != nil {
			t.Fatal(err)
		}
		n.Close()
	}
}

func pair(t testing.TB) (a, b p2p.Network) {
	t.Helper()
	var nets []p2p.Network
	for range 2 {
		n, err := libp2p.New(t.Context(), libp2p.Config{Key: newKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		nets = append(nets, n)
	}
	return nets[0], nets[1]
}

func TestLargeOverLibp2p(t *testing.T) {
	t.Parallel()
	me, holder := pair(t)
	from, to := open(t, t.TempDir(), Options{}), open(t, t.TempDir(), Options{})
	data := content(1, 64<<20)
	b := put(t, from, data)
	holder.Handle(p2p.ProtocolBlob, Server(from, ServerOptions{
		AcceptPush: func(sign.PublicKey, work.BlobID) bool { return true },
	}))
	start := time.Now()
	if err := newFetcher(t, me, to).Fetch(t.Context(), b, []p2p.Peer{holder.Self()}); err != nil {
		t.Fatal(err)
	}
	t.Logf("64 MiB in %v", time.Since(start))
	wantGet(t, to, b, data)
	if err := from.Delete(b); err != nil {
		t.Fatal(err)
	}
	if err := Push(t.Context(), me, holder.Self(), to, []work.BlobID{b}); err != nil {
		t.Fatal(err)
	}
	wantGet(t, from, b, data)
}

// Slices are Bao's, and what verifies is what was stored.
func TestSlices(t *testing.T) {
	t.Parallel()
	for _, size := range []uint64{groupSize + 1, 2 * groupSize, 3*groupSize + 5, rangeBytes + groupSize + 1, 2*rangeBytes - 1} {
		data := content(size, int(size))
		b := work.BlobOf(data)
		tr, err := buildTree(b, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for off := uint64(0); off < size; off += 5 * groupSize {
			for _, n := range []uint64{1, groupSize, rangeBytes, size - off} {
				n = min(n, size-off)
				slice, err := tr.appendSlice(nil, bytes.NewReader(data), size, off, n)
				if err != nil {
					t.Fatal(err)
				}
				got, err := appendVerified([]byte("x"), b, off, n, slice)
				if err != nil || !bytes.Equal(got[1:], data[off:off+n]) {
					t.Fatalf("%d+%d of %d: %v", off, n, size, err)
				}
				for _, bad := range [][]byte{slice[:len(slice)-1], append(bytes.Clone(slice), 0), nil} {
					if got, err := appendVerified(nil, b, off, n, bad); !errors.Is(err, ErrCorrupt) || len(got) > 0 {
						t.Fatalf("%d+%d of %d: a slice of %d instead of %d bytes verified", off, n, size, len(bad), len(slice))
					}
				}
				flipped := bytes.Clone(slice)
				flipped[len(flipped)/3] ^= 4
				if _, err := appendVerified(nil, b, off, n, flipped); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%d+%d of %d: a flipped bit verified", off, n, size)
				}
			}
		}
		if _, err := appendVerified(nil, b, 0, 0, nil); !errors.Is(err, ErrCorrupt) {
			t.Fatal("an empty range verified")
		}
	}
	if _, err := buildTree(work.BlobOf(content(1, 200_000)), bytes.NewReader(content(2, 200_000))); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("tree of other bytes: %v", err)
	}
	if _, err := buildTree(work.BlobOf(content(1, 200_000)), bytes.NewReader(content(1, 100_000))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("tree of too few bytes: %v", err)
	}
}

func TestTreesAreBounded(t *testing.T) {
	t.Parallel()
	store := NewMem()
	tr := newTrees(store)
	var ids []work.BlobID
	for i := range 4 {
		ids = append(ids, put(t, store, content(uint64(i), 100_000)))
		if _, err := tr.get(ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.get(work.BlobOf(content(9, 100_000))); !errors.Is(err, ErrMissing) {
		t.Fatalf("tree of a missing blob: %v", err)
	}
	if tr.order.Len() != 4 || tr.bytes != 4*treeBytes(ids[0]) {
		t.Fatalf("%d trees of %d bytes", tr.order.Len(), tr.bytes)
	}
	tr.mu.Lock()
	tr.bytes += treeCacheBytes
	tr.evict()
	tr.mu.Unlock()
	if tr.order.Len() != 1 || tr.byID[ids[3]] == nil {
		t.Fatalf("%d trees stay, not just the last used", tr.order.Len())
	}
}

func FuzzDecodeRequest(f *testing.F) {
	b := work.BlobOf([]byte("seed"))
	f.Add(encodeGet(b, 0, 4))
	f.Add(encodeGet(work.BlobID{Root: b.Root, Size: 1 << 40}, 1<<20, rangeBytes))
	f.Add(encodeOffer([]work.BlobID{b, empty}))
	f.Add(encodeHave(b))
	f.Add(encodeEnd([]status{statusStored, statusFull}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := decodeRequest(frame)
		if err != nil {
			if !errors.Is(err, errWire) {
				t.Fatalf("%v is not errWire", err)
			}
			return
		}
		var again []byte
		switch r.kind {
		case kindGet:
			if !r.soundRange() {
				t.Fatalf("range %d+%d of %d", r.off, r.n, r.blob.Size)
			}
			again = encodeGet(r.blob, r.off, r.n)
		case kindHave:
			again = encodeHave(r.blob)
		case kindOffer:
			again = encodeOffer(r.offer)
		case kindEnd:
			again = encodeEnd(r.end)
		}
		if !bytes.Equal(again, frame) {
			t.Fatalf("%x decoded and encoded again is %x", frame, again)
		}
	})
}

func FuzzReply(f *testing.F) {
	data := content(1, 3*groupSize)
	b := work.BlobOf(data)
	tr, err := buildTree(b, bytes.NewReader(data))
	if err != nil {
		f.Fatal(err)
	}
	slice, err := tr.appendSlice([]byte{kindData}, bytes.NewReader(data), b.Size, groupSize, groupSize)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(slice)
	f.Add(slice[:len(slice)-1])
	f.Add([]byte{kindMissing})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		slice, err := decodeReply(frame)
		if err != nil {
			return
		}
		got, err := appendVerified(nil, b, groupSize, groupSize, slice)
		if err == nil && !bytes.Equal(got, data[groupSize:2*groupSize]) {
			t.Fatal("other bytes verified")
		}
	})
}

func BenchmarkFetchSmallLibp2p(b *testing.B) {
	me, holder := pair(b)
	from := NewMem()
	holder.Handle(p2p.ProtocolBlob, Server(from, ServerOptions{}))
	const many = 1000
	var all []work.BlobID
	for i := range many {
		all = append(all, put(b, from, content(uint64(i), 300)))
	}
	for b.Loop() {
		f := newFetcher(b, me, NewMem())
		if err := f.FetchMany(b.Context(), all, []p2p.Peer{holder.Self()}); err != nil {
			b.Fatal(err)
		}
		f.Close() // a peer has a bounded number of streams
	}
	b.ReportMetric(float64(b.N*many)/b.Elapsed().Seconds(), "blobs/s")
}

func BenchmarkFetchLargeLibp2p(b *testing.B) {
	me, holder := pair(b)
	from := NewMem()
	holder.Handle(p2p.ProtocolBlob, Server(from, ServerOptions{}))
	const size = 64 << 20
	id := put(b, from, content(1, size))
	b.SetBytes(size)
	for b.Loop() {
		to := open(b, b.TempDir(), Options{})
		if err := newFetcher(b, me, to).Fetch(b.Context(), id, []p2p.Peer{holder.Self()}); err != nil {
			b.Fatal(err)
		}
	}
}
