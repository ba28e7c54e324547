package blob

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// counted is a network whose handlers' streams count what is sent over them.
type counted struct {
	p2p.Network
	sent atomic.Int64
	slow time.Duration // before each frame
}

func (c *counted) Handle(proto p2p.Protocol, h p2p.Handler) {
	c.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) { h(ctx, &countedStream{s, c}) })
}

type countedStream struct {
	p2p.Stream
	c *counted
}

func (s *countedStream) Send(frame []byte) error {
	s.c.sent.Add(int64(len(frame)))
	if s.c.slow > 0 && len(frame) > groupSize {
		time.Sleep(s.c.slow)
	}
	return s.Stream.Send(frame)
}

// slowNode is a holder that takes its time for each answer.
func (w *world) slowHolder(s Local, d time.Duration) (*counted, p2p.Peer) {
	c := &counted{Network: w.node(), slow: d}
	c.Handle(p2p.ProtocolBlob, Server(s, ServerOptions{}))
	return c, c.Self()
}

// Eight providers fetch a popular blob at the same time: its first holder uploads it
// little more than once, not eight times.
func TestSpread(t *testing.T) {
	t.Parallel()
	const size, providers = 32 << 20, 8
	w := newWorld(t)
	data := content(1, size)
	first := NewMem()
	b := put(t, first, data)
	origin, at := w.slowHolder(first, 0)
	var nets []*counted
	var stores []*FileStore
	var fetchers []*NetFetcher
	for range providers {
		n, s := &counted{Network: w.node()}, open(t, t.TempDir(), Options{})
		n.Handle(p2p.ProtocolBlob, Server(s, ServerOptions{}))
		nets, stores, fetchers = append(nets, n), append(stores, s), append(fetchers, newFetcher(t, n, s))
	}
	var wg sync.WaitGroup
	for i := range providers {
		h := Holders{Origins: []p2p.Peer{at}}
		for k := range i { // each is told of those before it
			h.Siblings = append(h.Siblings, nets[k].Self())
		}
		wg.Go(func() {
			if err := fetchers[i].FetchShared(t.Context(), b, h); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		wantGet(t, s, b, data)
	}
	var others int64
	for _, n := range nets {
		others += n.sent.Load()
	}
	t.Logf("the first holder sent %.2f × the blob, the providers %.2f ×", float64(origin.sent.Load())/size, float64(others)/size)
	if n := origin.sent.Load(); n > 3*size {
		t.Errorf("the first holder sent %.2f × the blob", float64(n)/size)
	}
	// Those who come later need the first holder little: for their own share at most,
	// and only until a sibling has said that it has it (TestShares).
	before := origin.sent.Load()
	late := NewMem()
	h := Holders{Origins: []p2p.Peer{at}}
	for _, n := range nets {
		h.Siblings = append(h.Siblings, n.Self())
	}
	if err := w.fetcher(late).FetchShared(t.Context(), b, h); err != nil {
		t.Fatal(err)
	}
	if n := origin.sent.Load() - before; n > size/2 {
		t.Errorf("the first holder sent %.2f × the blob to one who came late", float64(n)/size)
	}
}

// Of those who fetch a blob together each range is asked of its first holder by one,
// and by nobody who knows a sibling that has it. A sibling that is not heard of has
// no share for long.
func TestShares(t *testing.T) {
	t.Parallel()
	const ranges = 64
	w := newWorld(t)
	b := put(t, NewMem(), content(1, ranges*rangeBytes))
	keys := []sign.PublicKey{w.node().Self().Key, w.node().Self().Key, w.node().Self().Key}
	asked := make([]int, ranges)
	for i, self := range keys {
		part, err := NewMem().Begin(b)
		if err != nil {
			t.Fatal(err)
		}
		defer part.Close()
		d := newDownload(self, part)
		var siblings []*source
		for k, key := range keys {
			if k != i {
				siblings = append(siblings, d.join(key, true))
			}
		}
		left := func(at time.Time) (n int) {
			for r := range ranges {
				if d.leftToSiblings(r, at) {
					n++
				}
			}
			return n
		}
		now := time.Now()
		for r := range ranges {
			if !d.leftToSiblings(r, now) {
				asked[r]++
			}
		}
		if n := left(now.Add(hopeTime + time.Second)); n != 0 {
			t.Errorf("%d ranges are left to siblings that are not heard of", n)
		}
		if err := d.heard(nil, siblings[0], encodeHas(hasAll, nil)); err != nil {
			t.Fatal(err)
		}
		if n := left(now.Add(time.Hour)); n != ranges {
			t.Errorf("%d of %d ranges are left to a sibling that has all", n, ranges)
		}
	}
	for r, n := range asked {
		if n != 1 {
			t.Errorf("range %d is asked of its first holder by %d of those who fetch it", r, n)
		}
	}
}

// Siblings that were named and are not there, or have nothing, cost time, not the
// blob.
func TestUselessSiblings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := content(1, 9*rangeBytes)
	from, to := NewMem(), NewMem()
	b := put(t, from, data)
	away := w.node()
	away.Close()
	silent := w.node()
	silent.Handle(p2p.ProtocolBlob, func(ctx context.Context, _ p2p.Stream) { <-ctx.Done() })
	boaster := w.node() // says to have all, gives nothing
	boaster.Handle(p2p.ProtocolBlob, func(_ context.Context, s p2p.Stream) {
		for {
			frame, err := s.Receive()
			if err != nil {
				return
			}
			answer := []byte{kindMissing}
			if r, err := decodeRequest(frame); err == nil && r.kind == kindHave {
				all := newBitmap(groups(b))
				for i := range all {
					all[i] = 0xff
				}
				answer = encodeHas(hasSome, all)
			}
			s.Send(answer)
			s.Flush()
		}
	})
	h := Holders{Origins: []p2p.Peer{w.holder(from)},
		Siblings: []p2p.Peer{away.Self(), silent.Self(), boaster.Self(), w.holder(NewMem()), w.me.Self()}}
	if err := w.fetcher(to).FetchShared(t.Context(), b, h); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
}

// One holder lies, one dies, one is silent, one is slow, one is honest: the blob
// comes, and the log names the liar.
func TestMixedHolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 48 * rangeBytes
	data := content(1, size)
	good := NewMem()
	b := put(t, good, data)
	bad := w.node()
	bad.Handle(p2p.ProtocolBlob, liarServer(t, liar{good}, b))
	dying := &cutting{Mem: NewMem()}
	put(t, dying, data)
	dies := w.holder(dying)
	dying.cut = func() { w.hub.Cut(w.me.Self().Key, dies.Key) }
	dying.at = size/groupSize + 40
	silent := w.node()
	silent.Handle(p2p.ProtocolBlob, func(ctx context.Context, _ p2p.Stream) { <-ctx.Done() })
	slow, at := w.slowHolder(good, 300*time.Millisecond)
	var log strings.Builder
	to := NewMem()
	f := NewFetcher(w.me, to, FetcherOptions{StallTime: 20 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(func() { f.Close() })
	holders := []p2p.Peer{bad.Self(), dies, silent.Self(), at, w.holder(good)}
	if err := f.Fetch(t.Context(), b, holders); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
	if !strings.Contains(log.String(), bad.Self().Key.String()) {
		t.Errorf("the log does not name the liar:\n%s", log.String())
	}
	if n := slow.sent.Load(); n > size/2 {
		t.Errorf("the slow holder brought %d of %d bytes", n, size)
	}
}

// Two holders of half each; both halves are taken at the same time.
func TestHalvesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 32 * rangeBytes
	data := content(1, size)
	b := work.BlobOf(data)
	var holders []p2p.Peer
	for i := range 2 {
		m := NewMem()
		p, err := m.Begin(b)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for r := range 16 {
			deliver(t, p, data, (16*i+r)*rangeBytes, rangeBytes)
		}
		holders = append(holders, w.holder(m))
	}
	to := NewMem()
	if err := w.fetcher(to).Fetch(t.Context(), b, holders); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
}

// A process that dies in the middle of a transfer goes on where it was, and takes
// nothing for granted that a power cut may have damaged.
func TestRestartResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 40 * rangeBytes
	data := content(1, size)
	from := &cutting{Mem: NewMem()}
	b := put(t, from, data)
	h := w.holder(from)
	me := w.me.Self().Key
	from.cut = func() { w.hub.Cut(me, h.Key) }
	from.at = size/groupSize + size/groupSize/2
	dir := t.TempDir()
	to := open(t, dir, Options{})
	if err := w.fetcher(to).Fetch(t.Context(), b, []p2p.Peer{h}); !errors.Is(err, p2p.ErrUnreachable) {
		t.Fatalf("fetch over a link that is cut: %v", err)
	}
	// What a killed process leaves is what is on disk now.
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "s"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	to.Close()
	to = open(t, filepath.Join(copied, "s"), Options{})
	part := to.partPath(b) + partSuffix
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 5*groupSize); err != nil { // of one group
		t.Fatal(err)
	}
	f.Close()
	w.hub.Heal(me, h.Key)
	from.served.Store(0)
	from.at = -1
	if err := w.fetcher(to).Fetch(t.Context(), b, []p2p.Peer{h}); err != nil {
		t.Fatal(err)
	}
	wantGet(t, to, b, data)
	if n := from.served.Load(); n > size/groupSize/2+window*maxPiece+2*rangeGroups {
		t.Errorf("%d of %d groups were served again", n, size/groupSize)
	}
	if left, _ := os.ReadDir(to.tmpDir()); len(left) != 0 {
		t.Errorf("%d files are left in tmp", len(left))
	}
}

// Side files of strangers or of another version are not believed.
func TestDamagedSideFile(t *testing.T) {
	t.Parallel()
	data := content(1, 10*groupSize)
	b := work.BlobOf(data)
	for name, damage := range map[string]func(raw []byte) []byte{
		"cut":        func(raw []byte) []byte { return raw[:len(raw)/2] },
		"empty":      func([]byte) []byte { return nil },
		"other head": func(raw []byte) []byte { raw[3]++; return raw },
		"tree":       func(raw []byte) []byte { raw[len(sideHead)+2+5] ^= 1; return raw },
		"all set": func(raw []byte) []byte {
			raw[len(sideHead)], raw[len(sideHead)+1] = 0xff, 0xff
			return raw
		},
	} {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		p, err := s.Begin(b)
		if err != nil {
			t.Fatal(err)
		}
		deliver(t, p, data, 0, 4*groupSize)
		p.Close()
		side := s.partPath(b) + sideSuffix
		s.Close()
		raw, err := os.ReadFile(side)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(side, damage(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Options{})
		if p, err = s.Begin(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p.left < 6 {
			t.Errorf("%s: %d groups are missing, not 6 or more", name, p.left)
		}
		deliver(t, p, data, 0, len(data))
		if err := p.Commit(true); err != nil {
			t.Fatal(err)
		}
		p.Close()
		wantGet(t, s, b, data)
	}
}

// Unfinished blobs are bounded.
func TestPartsAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	for i := range keptParts + 5 {
		data := content(uint64(i), 3*groupSize)
		p, err := s.Begin(work.BlobOf(data))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 || i > 5 {
			deliver(t, p, data, 0, groupSize)
		}
		p.Close()
	}
	if n, _ := s.Size(); n != keptParts*3*groupSize {
		t.Errorf("%d bytes of unfinished blobs are kept", n)
	}
}

// A peer that asks on many streams and takes nothing is bounded, cut off after its
// time, and keeps nobody else waiting.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	me, holder := pair(t)
	other, _ := pair(t)
	from := NewMem()
	data := content(1, 32<<20)
	b := put(t, from, data)
	s := &server{store: from, answers: newAnswers(from), puller: &puller{from}, streams: map[sign.PublicKey]*served{}, slots: make(chan struct{}, maxAnswers)}
	s.opts = ServerOptions{Log: slog.New(slog.DiscardHandler)}
	holder.Handle(p2p.ProtocolBlob, s.handle)
	var slow []p2p.Stream
	for range 2 * maxAnswersPeer {
		st, err := me.Dial(t.Context(), holder.Self(), p2p.ProtocolBlob)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 32 { // more than a stream's window
			if err := st.Send(encodeGet(b, uint64(i)*rangeBytes, rangeBytes)); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Flush(); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, st)
	}
	to := NewMem()
	if err := newFetcher(t, other, to).Fetch(t.Context(), b, []p2p.Peer{holder.Self()}); err != nil {
		t.Fatalf("beside a peer that takes nothing: %v", err)
	}
	wantGet(t, to, b, data)
	if n := len(s.slots); n > maxAnswersPeer {
		t.Errorf("%d answers wait for a peer that takes nothing", n)
	}
	for _, st := range slow {
		st.Close()
	}
}

// A large answer that nobody takes ends its stream.
func TestAnswerMustBeTaken(t *testing.T) {
	t.Parallel()
	me, holder := pair(t)
	from := NewMem()
	b := put(t, from, content(1, 32<<20))
	over := make(chan error, 1)
	holder.Handle(p2p.ProtocolBlob, func(_ context.Context, st p2p.Stream) {
		a := newAsked(st, newAnswers(from), nil)
		a.patience = 300 * time.Millisecond
		_, err := a.next()
		a.close()
		over <- err
	})
	st, err := me.Dial(t.Context(), holder.Self(), p2p.ProtocolBlob)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i := range 32 {
		if err := st.Send(encodeGet(b, uint64(i)*rangeBytes, rangeBytes)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-over:
		if err == nil {
			t.Error("the stream ended without an error")
		}
	case <-time.After(time.Minute):
		t.Error("an answer that nobody takes is still held")
	}
}

func FuzzDecodeHas(f *testing.F) {
	b := work.BlobOf(content(1, 9*groupSize))
	f.Add(encodeHas(hasAll, nil))
	f.Add(encodeHas(hasNone, nil))
	f.Add(encodeHas(hasSome, bitmap{0xff, 1}))
	f.Add(encodeHas(hasSome, bitmap{0xff}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		state, have, err := decodeHas(b, frame)
		if err != nil {
			if !errors.Is(err, errWire) {
				t.Fatalf("%v is not errWire", err)
			}
			return
		}
		if (state == hasSome) != (have != nil) || have.count() > groups(b) {
			t.Fatalf("state %d, %d groups of %d", state, have.count(), groups(b))
		}
	})
}

// Side files are our own, but a disk may give back anything.
func FuzzSideFile(f *testing.F) {
	data := content(1, 3*groupSize)
	b := work.BlobOf(data)
	f.Add([]byte(sideHead + "\x07"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		side, err := os.OpenFile(filepath.Join(dir, "side"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer side.Close()
		if _, err := side.Write(raw); err != nil {
			t.Fatal(err)
		}
		p := NewPart(b, memPart(data[:len(data):len(data)]), nil)
		p.side = side
		if err := p.takeUp(); err != nil {
			t.Fatal(err)
		}
		if p.left > groups(b) || p.left+p.have.count() != groups(b) {
			t.Fatalf("%d of %d groups are missing, %d are here", p.left, groups(b), p.have.count())
		}
	})
}
