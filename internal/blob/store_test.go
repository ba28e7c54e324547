package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

func open(t testing.TB, dir string, opts Options) *FileStore {
	t.Helper()
	s, err := OpenStore(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// content gives size bytes that differ by seed.
func content(seed uint64, size int) []byte {
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(data)
	return data
}

func put(t testing.TB, s Store, data []byte) work.BlobID {
	t.Helper()
	b, err := s.Put(data)
	if err != nil {
		t.Fatal(err)
	}
	if b != work.BlobOf(data) {
		t.Fatalf("put of %d bytes named them %s", len(data), b)
	}
	return b
}

func wantGet(t testing.TB, s Store, b work.BlobID, want []byte) {
	t.Helper()
	got, err := s.Get(b, b.Size)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("blob %s: %d bytes, %v", b, len(got), err)
	}
}

var sizes = []int{0, 1, smallBytes - 1, smallBytes, smallBytes + 1, groupSize, (64 << 10) + 1, 300_000}

// Every store does this.
func TestStores(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) Local{
		"file": func(t *testing.T) Local { return open(t, t.TempDir(), Options{}) },
		"mem":  func(*testing.T) Local { return NewMem() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testStore(t, make(t))
		})
	}
}

func testStore(t *testing.T, s Local) {
	var total uint64
	for i, size := range sizes {
		data := content(uint64(i), size)
		b := work.BlobOf(data)
		if size > 0 {
			if s.Has(b) {
				t.Fatalf("%s is there before it was stored", b)
			}
			if _, err := s.Get(b, b.Size); !errors.Is(err, ErrMissing) {
				t.Fatalf("get of a missing blob: %v", err)
			}
			if _, err := s.Open(b); !errors.Is(err, ErrMissing) {
				t.Fatalf("open of a missing blob: %v", err)
			}
		}
		put(t, s, data)
		put(t, s, data) // twice is once
		if got, err := s.PutReader(bytes.NewReader(data), uint64(size)); err != nil || got != b {
			t.Fatalf("put by a reader: %s, %v", got, err)
		}
		total += uint64(size)
		if !s.Has(b) {
			t.Fatalf("%s is not there", b)
		}
		wantGet(t, s, b, data)
		r, err := s.Open(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(size)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d of %d bytes: %v", len(got), size, err)
		}
		r.Close()
		if size > 0 {
			if _, err := s.Get(b, uint64(size)-1); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("get over the size allowed: %v", err)
			}
			if _, err := s.PutReader(bytes.NewReader(data), uint64(size)-1); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("put over the size allowed: %v", err)
			}
			if s.Has(work.BlobID{Root: b.Root, Size: b.Size + 1}) {
				t.Fatal("a blob of another size is there")
			}
		}
	}
	if n, err := s.Size(); err != nil || n != total {
		t.Fatalf("size %d, %v, want %d", n, err, total)
	}
	var datas [][]byte
	for i, size := range []int{10, 20_000, 10, 0, 30} { // two of them alike
		datas = append(datas, content(uint64(50+i), size))
	}
	datas[2] = datas[0]
	ids, err := s.PutMany(t.Context(), datas)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range ids {
		wantGet(t, s, b, datas[i])
	}
	if n, _ := s.Size(); n != total+20_040 {
		t.Fatalf("size %d, want %d", n, total+20_040)
	}
	testPartial(t, s)
	for i, size := range sizes {
		ids = append(ids, work.BlobOf(content(uint64(i), size)))
	}
	if err := s.Delete(append(ids, ids...)...); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Size(); n != 0 {
		t.Fatalf("size %d after all is deleted", n)
	}
}

// deliver keeps the range [off, off+n) of data in p, by its proof.
func deliver(t testing.TB, p *Part, data []byte, off, n int) {
	t.Helper()
	n = min(n, len(data)-off)
	tr, err := buildTree(p.b, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	slice, err := tr.appendSlice(nil, bytes.NewReader(data), p.b.Size, uint64(off), uint64(n))
	if err != nil {
		t.Fatal(err)
	}
	var pr proof
	if err := pr.verify(p.b, uint64(off), uint64(n), slice); err != nil {
		t.Fatal(err)
	}
	if _, err := p.keep(&pr); err != nil {
		t.Fatal(err)
	}
}

func testPartial(t *testing.T, s Local) {
	before, _ := s.Size()
	const size = 5*groupSize + 77
	data := content(99, size)
	b := work.BlobOf(data)
	p, err := s.Begin(b)
	if err != nil {
		t.Fatal(err)
	}
	if q, err := s.Begin(b); err != nil || q != p {
		t.Fatalf("a second user has another part: %v", err)
	}
	deliver(t, p, data, 3*groupSize, size)
	if err := p.Commit(true); err == nil || s.Has(b) {
		t.Fatalf("half a blob was stored (%v)", err)
	}
	if slice, err := p.appendSlice(nil, 3*groupSize, groupSize); err != nil {
		t.Fatalf("what is here is not given on: %v", err)
	} else if got, err := appendVerified(nil, b, 3*groupSize, groupSize, slice); err != nil || !bytes.Equal(got, data[3*groupSize:4*groupSize]) {
		t.Fatalf("what is given on does not verify: %v", err)
	}
	if _, err := p.appendSlice(nil, 2*groupSize, 2*groupSize); !errors.Is(err, ErrMissing) {
		t.Fatalf("a group that is not here: %v", err)
	}
	p.Close()
	p.Close()
	if p, err = s.Begin(b); err != nil { // goes on where it was
		t.Fatal(err)
	}
	if p.left != 3 {
		t.Fatalf("%d groups are missing, not 3", p.left)
	}
	deliver(t, p, data, 0, 3*groupSize)
	if err := p.Commit(false); err != nil {
		t.Fatal(err)
	}
	p.Close()
	wantGet(t, s, b, data)
	if err := s.Delete(b); err != nil {
		t.Fatal(err)
	}
	other := content(98, size)
	if p, err = s.Begin(work.BlobOf(other)); err != nil {
		t.Fatal(err)
	}
	deliver(t, p, other, 0, groupSize)
	p.Close()
	if err := s.Delete(p.b); err != nil { // an unfinished one
		t.Fatal(err)
	}
	if after, _ := s.Size(); after != before {
		t.Fatalf("parts left %d bytes", after-before)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	var ids []work.BlobID
	for i, size := range sizes {
		ids = append(ids, put(t, s, content(uint64(i), size)))
	}
	gone := put(t, s, content(77, 77))
	if err := s.Delete(gone); err != nil {
		t.Fatal(err)
	}
	size, _ := s.Size()
	if _, err := OpenStore(dir, Options{}); err == nil {
		t.Fatal("two stores in one folder")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put([]byte("late")); !errors.Is(err, errStoreClosed) {
		t.Fatalf("put into a closed store: %v", err)
	}
	// What a killed process leaves behind.
	left := filepath.Join(dir, "tmp", "put-left")
	if err := os.WriteFile(left, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	for i, b := range ids {
		wantGet(t, s, b, content(uint64(i), sizes[i]))
	}
	if s.Has(gone) {
		t.Fatal("a deleted blob came back")
	}
	if n, _ := s.Size(); n != size {
		t.Fatalf("size %d after reopening, %d before", n, size)
	}
	if _, err := os.Stat(left); err == nil {
		t.Fatal("an unfinished write survived")
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{MaxBytes: 100_000})
	small, large := put(t, s, content(1, 10_000)), put(t, s, content(2, 80_000))
	for _, size := range []int{10_001, 20_000, 90_000} {
		if _, err := s.Put(content(3, size)); !errors.Is(err, ErrFull) {
			t.Fatalf("put of %d bytes: %v, want ErrFull", size, err)
		}
	}
	put(t, s, content(2, 80_000)) // what is there needs no space
	if n, _ := s.Size(); n != 90_000 {
		t.Fatalf("size %d after refused puts", n)
	}
	last := put(t, s, content(4, 10_000))
	if err := s.Delete(large); err != nil {
		t.Fatal(err)
	}
	put(t, s, content(5, 80_000))
	wantGet(t, s, small, content(1, 10_000))
	wantGet(t, s, last, content(4, 10_000))
}

func TestCorruptFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flip := func(path string) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, Options{})
	b1, b2, b3 := put(t, s, content(1, 50_000)), put(t, s, content(2, 50_000)), put(t, s, content(3, 50_000))
	flip(s.path(b1))
	if _, err := s.Get(b1, b1.Size); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("get of a corrupt blob: %v", err)
	}
	if s.Has(b1) {
		t.Fatal("a corrupt blob stayed")
	}
	put(t, s, content(1, 50_000))
	wantGet(t, s, b1, content(1, 50_000))

	// Bit rot while nobody watched is found at the first opening.
	flip(s.path(b2))
	if err := os.Truncate(s.path(b3), 1000); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir, Options{})
	if _, err := s.Open(b2); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("open of a corrupt blob: %v", err)
	}
	if s.Has(b2) || s.Has(b3) {
		t.Fatal("a corrupt blob stayed")
	}
	if n, _ := s.Size(); n != 50_000 {
		t.Fatalf("size %d, want 50000", n)
	}
	if err := os.Remove(s.path(b1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(b1); !errors.Is(err, ErrMissing) || s.Has(b1) {
		t.Fatalf("open of a file that vanished: %v", err)
	}
}

func TestFilesHavePaths(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	data := content(1, 50_000)
	r, err := s.Open(put(t, s, data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := os.ReadFile(r.(runtime.Path).Path())
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the file of a blob has %d bytes, %v", len(got), err)
	}
}

func TestConcurrentPuts(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				data := fmt.Appendf(nil, "blob %d", i) // the same in every goroutine
				if i%5 == 0 {
					data = append(data, make([]byte, 40_000)...)
				}
				b, err := s.Put(data)
				if err != nil || !s.Has(b) {
					t.Error(g, b, err)
				}
			}
		})
	}
	wg.Wait()
	var want uint64
	for i := range 20 {
		want += uint64(len(fmt.Sprintf("blob %d", i)))
		if i%5 == 0 {
			want += 40_000
		}
	}
	if n, _ := s.Size(); n != want {
		t.Fatalf("size %d, want %d", n, want)
	}
}

func BenchmarkPutMany(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	const many = 500
	seed := uint64(0)
	for b.Loop() {
		datas := make([][]byte, many)
		for i := range datas {
			seed++
			datas[i] = fmt.Appendf(nil, "%d%s", seed, make([]byte, 200))
		}
		if _, err := s.PutMany(b.Context(), datas); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*many)/b.Elapsed().Seconds(), "blobs/s")
}
