package blob

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

func claimFor(t testing.TB, s *FileStore, who string, keep Keep, bs ...work.BlobID) {
	t.Helper()
	if err := s.Claim(who, keep, bs...); err != nil {
		t.Fatal(err)
	}
}

func release(t testing.TB, s *FileStore, who string) {
	t.Helper()
	if err := s.Release(who); err != nil {
		t.Fatal(err)
	}
}

func wantHas(t testing.TB, s Store, want bool, bs ...work.BlobID) {
	t.Helper()
	for i, b := range bs {
		if s.Has(b) != want {
			t.Fatalf("blob %d of %d: here is %v", i, len(bs), !want)
		}
	}
}

// What only ended jobs claim goes, whatever its size; what another claims, or nobody
// ever did, stays; programs stay in the cache.
func TestRelease(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	var mine, shared, free []work.BlobID
	for i, size := range []int{100, 60_000, 300_000} {
		mine = append(mine, put(t, s, content(uint64(i), size)))
		shared = append(shared, put(t, s, content(uint64(10+i), size)))
		free = append(free, put(t, s, content(uint64(20+i), size)))
	}
	program := put(t, s, content(30, 50_000))
	claimFor(t, s, "provider/a", Cache, program)
	claimFor(t, s, "provider/a", Wipe, append(mine, shared...)...)
	claimFor(t, s, "provider/a", Wipe, mine...) // twice is once
	claimFor(t, s, "indexer/a", Wipe, shared...)
	if names, err := s.Claims("provider/"); err != nil || len(names) != 1 || names[0] != "provider/a" {
		t.Fatalf("claims %q, %v", names, err)
	}
	release(t, s, "provider/a")
	release(t, s, "provider/a")
	wantHas(t, s, false, mine...)
	wantHas(t, s, true, append(append(shared, free...), program)...)
	release(t, s, "indexer/a")
	wantHas(t, s, false, shared...)
	wantHas(t, s, true, free...)
	if names, err := s.Claims(""); err != nil || len(names) != 0 {
		t.Fatalf("claims %q are left, %v", names, err)
	}
	for _, b := range mine { // an unlinked file has no name any more
		if _, err := os.Stat(s.path(b)); !os.IsNotExist(err) {
			t.Fatalf("the file of a wiped blob: %v", err)
		}
	}
	// A claim on what is not here yet counts, too; claimed again it leaves the cache.
	claimFor(t, s, "provider/b", Wipe, work.BlobOf([]byte("later")), program)
	later := put(t, s, []byte("later"))
	release(t, s, "provider/b")
	wantHas(t, s, false, later, program)
}

func TestReleaseOfMany(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	var all [][]byte
	for i := range 3*claimStep + 7 {
		all = append(all, fmt.Appendf(nil, "input %d", i))
	}
	ids, err := s.PutMany(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	claimFor(t, s, "provider/a", Wipe, ids...)
	claimFor(t, s, "checker/a", Wipe, ids[:500]...)
	release(t, s, "provider/a")
	wantHas(t, s, true, ids[:500]...)
	wantHas(t, s, false, ids[500:]...)
	release(t, s, "checker/a")
	if n, _ := s.Size(); n != 0 {
		t.Fatalf("%d bytes are left", n)
	}
}

// A process that dies while it wipes goes on when it starts again; claims survive.
func TestWipeGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	gone, kept := put(t, s, content(1, 70_000)), put(t, s, content(2, 70_000))
	claimFor(t, s, "provider/a", Wipe, gone)
	claimFor(t, s, "provider/b", Wipe, kept)
	if err := s.small.db.Set(joined('n', claimID("provider/a")), joined(claimReleased, nowMillis(), []byte("provider/a")), nil); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "s") // as after kill -9
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, copied, Options{})
	wantHas(t, s, false, gone)
	wantHas(t, s, true, kept)
	release(t, s, "provider/b")
	wantHas(t, s, false, kept)
}

// At the bound cached programs make room, the one released first goes first; what is
// claimed never does, and then the error says so.
func TestRoomIsMade(t *testing.T) {
	t.Parallel()
	const size = 100_000
	s := open(t, t.TempDir(), Options{MaxBytes: 5 * size, CacheBytes: 5 * size})
	var old []work.BlobID
	for i := range 3 {
		b := put(t, s, content(uint64(i), size))
		who := fmt.Sprint("provider/", i)
		claimFor(t, s, who, Cache, b)
		release(t, s, who)
		old = append(old, b)
		time.Sleep(2 * time.Millisecond) // their times differ
	}
	var mine []work.BlobID
	for i := range 3 {
		data := content(uint64(10+i), size)
		claimFor(t, s, "provider/x", Wipe, work.BlobOf(data))
		mine = append(mine, put(t, s, data))
	}
	wantHas(t, s, false, old[0])
	wantHas(t, s, true, append(mine, old[1], old[2])...)
	p, err := s.Begin(work.BlobOf(content(20, 2*size))) // an unfinished one needs room as well
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, p, content(20, 2*size), 0, groupSize)
	wantHas(t, s, false, old...)
	if _, err := s.Put(content(21, size)); !errors.Is(err, ErrFull) {
		t.Fatalf("put into a store of claimed blobs: %v", err)
	}
	if _, err := s.Put(make([]byte, 100)); !errors.Is(err, ErrFull) {
		t.Fatalf("a small one: %v", err)
	}
	p.Close()
	put(t, s, content(21, size)) // nobody fetches it any more
	wantHas(t, s, true, mine...)
	release(t, s, "provider/x")
	if n, _ := s.Size(); n != size {
		t.Fatalf("%d bytes are left", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{CacheBytes: 150_000})
	for i := range 4 {
		b := put(t, s, content(uint64(i), 50_000))
		claimFor(t, s, "provider/x", Cache, b)
	}
	release(t, s, "provider/x")
	if n, _ := s.Size(); n != 150_000 {
		t.Fatalf("%d bytes of programs are kept", n)
	}
}

// Pushed blobs wait for their job: a stranger's give way when room is needed, and go
// after a day.
func TestPushesWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := open(t, t.TempDir(), Options{MaxBytes: 1_000_000})
	server := w.node()
	server.Handle(p2p.ProtocolBlob, Server(s, ServerOptions{AcceptPush: func(sign.PublicKey, work.BlobID) bool { return true }}))
	from := NewMem()
	var junk []work.BlobID
	for i := range 6 {
		junk = append(junk, put(t, from, content(uint64(i), 120_000)))
	}
	if err := Push(t.Context(), w.node(), server.Self(), from, junk); err != nil {
		t.Fatal(err)
	}
	job := put(t, from, content(50, 200_000))
	if err := Push(t.Context(), w.me, server.Self(), from, []work.BlobID{job}); err != nil {
		t.Fatal(err)
	}
	claimFor(t, s, "indexer/a", Wipe, job)
	more := put(t, from, content(51, 500_000))
	if err := Push(t.Context(), w.me, server.Self(), from, []work.BlobID{more}); err != nil {
		t.Fatalf("a push beside a stranger's: %v", err)
	}
	wantHas(t, s, false, junk...)
	wantHas(t, s, true, job, more)
	if err := s.sweep(time.Now().Add(pushLife + time.Minute)); err != nil {
		t.Fatal(err)
	}
	wantHas(t, s, false, more)
	wantHas(t, s, true, job)
}
