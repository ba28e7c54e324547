package gw1_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/gw1"
)

// slab is a memory for host calls without an engine.
type slab []byte

func (s slab) Read(at, n uint32) ([]byte, bool) {
	if uint64(at)+uint64(n) > uint64(len(s)) {
		return nil, false
	}
	return s[at : at+n], true
}

func (s slab) Write(at uint32, b []byte) bool {
	dst, ok := s.Read(at, uint32(len(b)))
	copy(dst, b)
	return ok
}

func (s slab) u32(at int) uint32 { return binary.LittleEndian.Uint32(s[at:]) }
func (s slab) u64(at int) uint64 { return binary.LittleEndian.Uint64(s[at:]) }

// guest calls the host as a program would.
type guest struct {
	t *testing.T
	h *gw1.Host
	m slab
}

func newGuest(t *testing.T, c gw1.HostConfig) *guest {
	t.Helper()
	h, err := gw1.NewHost(c)
	if err != nil {
		t.Fatal(err)
	}
	return &guest{t, h, make(slab, 1<<16)}
}

// Errors that the tests name.
const (
	ebadf, eexist, efault, einval, eisdir, enoent, enospc, enotdir, enotempty, enotsup, erofs, enotcapable = 8, 20, 21, 28, 31, 44, 51, 54, 55, 58, 69, 76
)

func (g *guest) call(name string, args ...uint64) uint32 { return g.h.Call(name, g.m, args) }

// path puts a path at 1000 and returns pointer and length.
func (g *guest) path(p string) (uint64, uint64) {
	copy(g.m[1000:], p)
	return 1000, uint64(len(p))
}

const (
	create, directory, excl, trunc = 1, 2, 4, 8
	reading, writing               = 1 << 1, 1 << 6
)

func (g *guest) open(p string, oflags, rights uint64) (uint64, uint32) {
	at, n := g.path(p)
	errno := g.call("path_open", 3, 0, at, n, oflags, rights, 0, 0, 16)
	return uint64(g.m.u32(16)), errno
}

func (g *guest) write(fd uint64, s string) uint32 {
	copy(g.m[5000:], s)
	binary.LittleEndian.PutUint32(g.m[24:], 5000)
	binary.LittleEndian.PutUint32(g.m[28:], uint32(len(s)))
	return g.call("fd_write", fd, 24, 1, 32)
}

func (g *guest) read(fd uint64, n int) string {
	binary.LittleEndian.PutUint32(g.m[24:], 5000)
	binary.LittleEndian.PutUint32(g.m[28:], uint32(n))
	if errno := g.call("fd_read", fd, 24, 1, 32); errno != 0 {
		g.t.Errorf("fd_read: errno %d", errno)
	}
	return string(g.m[5000 : 5000+g.m.u32(32)])
}

func (g *guest) pathCall(name, p string) uint32 {
	at, n := g.path(p)
	return g.call(name, 3, at, n)
}

func (g *guest) rename(from, to string) uint32 {
	copy(g.m[2000:], to)
	at, n := g.path(from)
	return g.call("path_rename", 3, at, n, 3, 2000, uint64(len(to)))
}

// stopOf runs f and returns why it ended the run.
func stopOf(f func()) (stop *gw1.Stop) {
	defer func() { stop, _ = recover().(*gw1.Stop) }()
	f()
	return nil
}

func TestOnlyOutputDirectoriesAreWritable(t *testing.T) {
	t.Parallel()
	c := world()
	c.Files = []gw1.HostFile{{Path: "in/a", File: text("A")}, {Path: "top", File: text("T")}}
	g := newGuest(t, c)
	for _, x := range []struct {
		path   string
		oflags uint64
		rights uint64
		errno  uint32
	}{
		{"in/a", 0, reading, 0},
		{"in//./a", 0, reading, 0},
		{"in/../in/a", 0, reading, 0},
		{"in/a", 0, reading | writing, erofs},
		{"in/a", trunc, reading, erofs},
		{"in/a", create, reading, 0},
		{"in/a", create | excl, writing, eexist},
		{"in/new", create, writing, erofs},
		{"new", create, writing, erofs},
		{"in/a/", 0, reading, enotdir},
		{"in/a/b", 0, reading, enotdir},
		{"in/a", directory, reading, enotdir},
		{"in", directory, reading, 0},
		{"in", create, writing, eisdir},
		{"none", 0, reading, enoent},
		{"none/x", create, writing, enoent},
		{"", 0, reading, enoent},
		{"../x", 0, reading, enotcapable},
		{"..", 0, reading, enotcapable},
		{"in/../../x", 0, reading, enotcapable},
		{"out/../../etc/passwd", create, writing, enotcapable},
		{"/in/a", 0, reading, enotcapable},
		{"IN/a", 0, reading, enoent},
		{"out\\..\\x", create, writing, einval},
		{"out/a\x00b", create, writing, einval},
		{"out/\xff", create, writing, 25},
		{"out/" + strings.Repeat("n", 256), create, writing, 37},
		{"out/x", create, writing, 0},
		{"out/x", create | excl, writing, eexist},
		{"out/y/", create, writing, einval},
		{"tmp/x", create, writing, 0},
	} {
		if _, errno := g.open(x.path, x.oflags, x.rights); errno != x.errno {
			t.Errorf("open %q flags %d rights %#x: errno %d, want %d", x.path, x.oflags, x.rights, errno, x.errno)
		}
	}
	for _, x := range []struct {
		call, path string
		errno      uint32
	}{
		{"path_create_directory", "out", eexist},
		{"path_create_directory", "in/d", erofs},
		{"path_create_directory", "out/d", 0},
		{"path_create_directory", "out/d/e", 0},
		{"path_remove_directory", "out/d", enotempty},
		{"path_unlink_file", "out/d", eisdir},
		{"path_remove_directory", "out/x", enotdir},
		{"path_remove_directory", "out", erofs},
		{"path_remove_directory", "out/d/e/..", einval},
		{"path_remove_directory", "out/d/e", 0},
		{"path_unlink_file", "in/a", erofs},
		{"path_unlink_file", "out/none", enoent},
		{"path_unlink_file", "out/x", 0},
	} {
		if errno := g.pathCall(x.call, x.path); errno != x.errno {
			t.Errorf("%s %q: errno %d, want %d", x.call, x.path, errno, x.errno)
		}
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	c := world()
	c.Files = []gw1.HostFile{{Path: "in/a", File: text("A")}}
	g := newGuest(t, c)
	for _, p := range []string{"out/f", "out/g", "tmp/h"} {
		fd, _ := g.open(p, create, writing)
		g.write(fd, p)
	}
	for _, p := range []string{"out/d", "out/d/sub", "out/empty"} {
		g.pathCall("path_create_directory", p)
	}
	for _, x := range []struct {
		from, to string
		errno    uint32
	}{
		{"in/a", "out/a", erofs},
		{"out/f", "in/f", erofs},
		{"out", "tmp/out", erofs},
		{"out/d", "out/d/sub/d", einval},
		{"out/d", "out/d/x", einval},
		{"out/f", "out/d", eisdir},
		{"out/empty", "out/f", enotdir},
		{"out/empty", "out/d", enotempty},
		{"out/none", "out/x", enoent},
		{"out/f", "out/f", 0},
		{"out/f", "out/g", 0},
		{"tmp/h", "out/d/sub/h", 0},
		{"out/d", "out/empty", 0},
		{"out/g", "tmp/g", 0},
	} {
		if errno := g.rename(x.from, x.to); errno != x.errno {
			t.Errorf("rename %s to %s: errno %d, want %d", x.from, x.to, errno, x.errno)
		}
	}
	want := []gw1.OutFile{{Path: "out/empty/sub/h", Bytes: []byte("tmp/h")}}
	if got := g.h.OutputFiles(); !reflect.DeepEqual(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestCaps(t *testing.T) {
	t.Parallel()
	c := gw1.HostConfig{OutputCap: 10, ScratchCap: 10, MaxFiles: 3}
	t.Run("stdout, stderr and files count together", func(t *testing.T) {
		g := newGuest(t, c)
		fd, _ := g.open("out/x", create, writing)
		g.write(1, "123")
		g.write(2, "456")
		g.write(fd, "7890")
		if stop := stopOf(func() { g.write(1, "!") }); stop == nil || stop.Reason != gw1.StopOutput {
			t.Error("not stopped over the cap")
		}
		if string(g.h.Stdout()) != "123" {
			t.Errorf("stdout %q", g.h.Stdout())
		}
	})
	t.Run("removed output is given back", func(t *testing.T) {
		g := newGuest(t, c)
		for range 5 {
			fd, _ := g.open("out/x", create, writing)
			g.write(fd, "1234567890")
			g.pathCall("path_unlink_file", "out/x")
			g.call("fd_close", fd)
		}
	})
	t.Run("removed but open output is not", func(t *testing.T) {
		g := newGuest(t, c)
		fd, _ := g.open("out/x", create, writing)
		g.write(fd, "1234567890")
		g.pathCall("path_unlink_file", "out/x")
		if stopOf(func() { g.write(1, "!") }) == nil {
			t.Error("not stopped over the cap")
		}
	})
	t.Run("sparse file", func(t *testing.T) {
		g := newGuest(t, c)
		fd, _ := g.open("out/x", create, writing)
		if stopOf(func() { g.call("fd_filestat_set_size", fd, 1<<39) }) == nil {
			t.Error("not stopped over the cap")
		}
	})
	t.Run("scratch", func(t *testing.T) {
		g := newGuest(t, c)
		fd, _ := g.open("tmp/x", create, writing)
		if errno := g.write(fd, "12345678901"); errno != enospc {
			t.Errorf("errno %d over the scratch cap", errno)
		}
		if errno := g.write(fd, "1234567890"); errno != 0 {
			t.Errorf("errno %d within the scratch cap", errno)
		}
		if stopOf(func() { g.write(1, "1"); g.rename("tmp/x", "out/x") }) == nil {
			t.Error("scratch became output over the cap")
		}
	})
	t.Run("files", func(t *testing.T) {
		g := newGuest(t, c)
		for i, want := range []uint32{0, 0, 0, enospc} {
			if _, errno := g.open(fmt.Sprintf("out/%d", i), create, writing); errno != want {
				t.Errorf("file %d: errno %d", i, errno)
			}
		}
		g.pathCall("path_unlink_file", "out/0")
		if errno := g.pathCall("path_create_directory", "tmp/d"); errno != 0 {
			t.Errorf("after a removal: errno %d", errno)
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		g := newGuest(t, c)
		for i := 4; i < gw1.MaxOpenFiles; i++ {
			if fd, errno := g.open("out", directory, reading); errno != 0 || fd != uint64(i) {
				t.Fatalf("descriptor %d: number %d, errno %d", i, fd, errno)
			}
		}
		if _, errno := g.open("out", directory, reading); errno != 33 {
			t.Errorf("errno %d over the limit", errno)
		}
		g.call("fd_close", 7)
		if fd, _ := g.open("out", directory, reading); fd != 7 {
			t.Errorf("number %d, want the lowest free one", fd)
		}
	})
}

func TestReadingAndSeeking(t *testing.T) {
	t.Parallel()
	c := world()
	c.Stdin = text("standard input")
	g := newGuest(t, c)
	if got := g.read(0, 8) + "|" + g.read(0, 100) + "|" + g.read(0, 100); got != "standard| input|" {
		t.Errorf("stdin %q", got)
	}
	fd, _ := g.open("out/x", create, reading|writing)
	g.write(fd, "0123456789")
	if errno := g.call("fd_seek", fd, uint64(math.MaxUint64-3), 2, 40); errno != 0 || g.m.u64(40) != 6 { // -4 from the end
		t.Errorf("seek: errno %d, position %d", errno, g.m.u64(40))
	}
	if got := g.read(fd, 100); got != "6789" {
		t.Errorf("read %q", got)
	}
	if errno := g.call("fd_seek", fd, uint64(math.MaxUint64), 0, 40); errno != einval {
		t.Errorf("seek before the start: errno %d", errno)
	}
	g.call("fd_seek", fd, 12, 0, 40)
	g.write(fd, "x")
	if got := g.h.OutputFiles()[0].Bytes; string(got) != "0123456789\x00\x00x" {
		t.Errorf("content %q", got)
	}
	g.call("fd_fdstat_set_flags", fd, 1) // append
	g.call("fd_seek", fd, 0, 0, 40)
	g.write(fd, "!")
	if got := g.h.OutputFiles()[0].Bytes; string(got) != "0123456789\x00\x00x!" {
		t.Errorf("content %q", got)
	}
}

func (g *guest) list(fd uint64, size int) []string {
	var names []string
	for cookie := uint64(0); ; {
		if errno := g.call("fd_readdir", fd, 3000, uint64(size), cookie, 40); errno != 0 {
			g.t.Fatalf("fd_readdir: errno %d", errno)
		}
		used := int(g.m.u32(40))
		at := 3000
		for at+24 <= 3000+used && at+24+int(g.m.u32(at+16)) <= 3000+used {
			n := int(g.m.u32(at + 16))
			names = append(names, string(g.m[at+24:at+24+n]))
			cookie = g.m.u64(at)
			at += 24 + n
		}
		if used < size {
			return names
		}
	}
}

func TestDirectoriesAreSorted(t *testing.T) {
	t.Parallel()
	c := world()
	for _, p := range []string{"b", "a", "B", "é", "in/x"} {
		c.Files = append(c.Files, gw1.HostFile{Path: p})
	}
	g := newGuest(t, c)
	want := []string{".", "..", "B", "a", "b", "in", "out", "tmp", "é"}
	for _, size := range []int{1000, 60, 33} {
		if got := g.list(3, size); !reflect.DeepEqual(got, want) {
			t.Errorf("with a buffer of %d: %q", size, got)
		}
	}
}

func TestClockAndPoll(t *testing.T) {
	t.Parallel()
	g := newGuest(t, world())
	now := func(clock uint64) uint64 {
		if errno := g.call("clock_time_get", clock, 1, 40); errno != 0 {
			t.Errorf("clock %d: errno %d", clock, errno)
		}
		return g.m.u64(40)
	}
	if a, b := now(0), now(0); a != 1_700_000_000_000_001_000 || b != a+1000 {
		t.Errorf("realtime %d, then %d", a, b)
	}
	if a := now(1); a != 3000 {
		t.Errorf("monotonic %d", a)
	}
	if errno := g.call("clock_time_get", 9, 1, 40); errno != einval {
		t.Errorf("unknown clock: errno %d", errno)
	}
	sub := func(i int, mark uint64, kind byte, clockOrFD uint32, timeout uint64, flags uint16) {
		s := g.m[3000+48*i:]
		clear(s[:48])
		binary.LittleEndian.PutUint64(s, mark)
		s[8] = kind
		binary.LittleEndian.PutUint32(s[16:], clockOrFD)
		binary.LittleEndian.PutUint64(s[24:], timeout)
		binary.LittleEndian.PutUint16(s[40:], flags)
	}
	sub(0, 11, 0, 1, 5e9, 0)
	sub(1, 12, 0, 0, 1_700_000_002_000_000_000, 1)
	if errno := g.call("poll_oneoff", 3000, 4000, 2, 40); errno != 0 || g.m.u32(40) != 1 || g.m.u64(4000) != 12 {
		t.Errorf("poll: errno %d, %d events, first %d", errno, g.m.u32(40), g.m.u64(4000))
	}
	if a := now(0); a != 1_700_000_002_000_001_000 {
		t.Errorf("after the sleep it is %d", a)
	}
	sub(1, 13, 1, 0, 0, 0) // stdin is ready, so no time passes
	if g.call("poll_oneoff", 3000, 4000, 2, 40); g.m.u32(40) != 1 || g.m.u64(4000) != 13 {
		t.Errorf("poll: %d events, first %d", g.m.u32(40), g.m.u64(4000))
	}
	sub(0, 14, 0, 1, math.MaxUint64, 0) // forever
	if errno := g.call("poll_oneoff", 3000, 4000, 1, 40); errno != 0 {
		t.Errorf("poll: errno %d", errno)
	}
	if a := now(0); a != math.MaxInt64 {
		t.Errorf("the end of time is %d", a)
	}
	if errno := g.call("poll_oneoff", 3000, 4000, 0, 40); errno != einval {
		t.Errorf("poll of nothing: errno %d", errno)
	}
}

func TestRandomFollowsSeed(t *testing.T) {
	t.Parallel()
	c := world()
	draw := func(sizes ...uint64) string {
		g := newGuest(t, c)
		var all []byte
		for _, n := range sizes {
			g.call("random_get", 3000, n)
			all = append(all, g.m[3000:3000+n]...)
		}
		return string(all)
	}
	a := draw(5, 11)
	if a != draw(16) || a != draw(5, 11) {
		t.Error("the stream depends on how it is read")
	}
	c.Seed[0] = 1
	if a == draw(16) {
		t.Error("another seed gives the same stream")
	}
}

func TestBrokenInputEndsTheRun(t *testing.T) {
	t.Parallel()
	c := world()
	c.Files = []gw1.HostFile{{Path: "short", File: gw1.File{ReaderAt: strings.NewReader("abc"), Size: 5}}}
	g := newGuest(t, c)
	fd, _ := g.open("short", 0, reading)
	stop := stopOf(func() { g.read(fd, 5) })
	if stop == nil || stop.Reason != gw1.StopHost || !errors.Is(stop, io.ErrUnexpectedEOF) {
		t.Errorf("stop %v", stop)
	}
}

type budget struct{ left uint64 }

func (b *budget) Charge(n uint64) bool {
	if n > b.left {
		return false
	}
	b.left -= n
	return true
}

func TestCallsAreCharged(t *testing.T) {
	t.Parallel()
	c := world()
	b := &budget{plenty}
	c.Fuel = b
	g := newGuest(t, c)
	cost := func(f func()) uint64 {
		before := b.left
		f()
		return before - b.left
	}
	for _, fn := range gw1.Functions() {
		if fn.Name == "proc_exit" {
			continue
		}
		got := cost(func() { g.call(fn.Name, make([]uint64, len(fn.Signature.Params))...) })
		if got < gw1.FuelPerHostCall {
			t.Errorf("%s costs %d", fn.Name, got)
		}
	}
	if got := cost(func() { g.write(1, strings.Repeat("x", 4000)) }); got != gw1.FuelPerHostCall+1000 {
		t.Errorf("writing 4000 bytes costs %d", got)
	}
	b.left = gw1.FuelPerHostCall + 999
	if stop := stopOf(func() { g.write(1, strings.Repeat("x", 4000)) }); stop == nil || stop.Reason != gw1.StopFuel {
		t.Error("writing without fuel is not stopped")
	}
}

func TestNewHostRefuses(t *testing.T) {
	t.Parallel()
	file := func(paths ...string) (c gw1.HostConfig) {
		for _, p := range paths {
			c.Files = append(c.Files, gw1.HostFile{Path: p})
		}
		return c
	}
	for name, c := range map[string]gw1.HostConfig{
		"absolute path":       file("/etc/passwd"),
		"escape":              file("in/../../x"),
		"empty part":          file("in//x"),
		"twice":               file("a", "a"),
		"file as a directory": file("a", "a/b"),
		"directory as a file": file("a/b", "a"),
		"in an output":        file("out/x"),
		"over an output":      file("out"),
		"zero byte":           {Args: []string{"a\x00b"}},
		"no text":             {Env: []string{"A=\xff"}},
		"large arguments":     {Args: []string{strings.Repeat("x", gw1.MaxArgumentBytes)}},
		"no content":          {Files: []gw1.HostFile{{Path: "x", File: gw1.File{Size: 3}}}},
		"output path":         {OutputDirs: []string{"a/b"}},
		"output twice":        {OutputDirs: []string{"a", "a"}},
	} {
		if _, err := gw1.NewHost(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzHostCall plays random calls: none may panic but to end the run, and none may break the caps.
func FuzzHostCall(f *testing.F) {
	functions := gw1.Functions()
	index := func(name string) byte {
		for i, fn := range functions {
			if fn.Name == name {
				return byte(i)
			}
		}
		panic(name)
	}
	f.Add([]byte{index("path_open"), 3, 0, 100, 5, 1, 66, 0, 0, 16, index("fd_write"), 4, 24, 1, 32, index("fd_readdir"), 3, 100, 200, 0, 40})
	f.Add([]byte{index("path_rename"), 3, 100, 5, 3, 110, 5, index("path_unlink_file"), 3, 100, 5, index("fd_close"), 4, index("poll_oneoff"), 0, 100, 2, 40})
	f.Fuzz(func(t *testing.T, script []byte) {
		const outputCap = 5000
		h, err := gw1.NewHost(gw1.HostConfig{
			Args: []string{"a", "b"}, Env: []string{"K=V"}, Stdin: text("stdin"), Fuel: &budget{50_000_000},
			Files: []gw1.HostFile{{Path: "in/a", File: text("A")}}, OutputCap: outputCap, ScratchCap: outputCap, MaxFiles: 5,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			switch p := recover().(type) {
			case nil, *gw1.Exit, *gw1.Stop:
			default:
				panic(p)
			}
			total := len(h.Stdout()) + len(h.Stderr())
			for _, file := range h.OutputFiles() {
				total += len(file.Bytes)
			}
			if total > outputCap {
				t.Errorf("%d bytes of output", total)
			}
		}()
		m := make(slab, 4096)
		copy(m[100:], "out/a/out/b/tmp/c/in/a")
		copy(m[24:], bytes.Repeat([]byte{100, 0, 0, 0, 50, 0, 0, 0}, 3))
		for len(script) > 0 {
			fn := functions[int(script[0])%len(functions)]
			script = script[1:]
			args := make([]uint64, len(fn.Signature.Params))
			for i := range args {
				if len(script) == 0 {
					break
				}
				if args[i] = uint64(script[0]); args[i] >= 0xf0 { // wide values too
					args[i] = math.MaxUint64 >> (4 * (args[i] - 0xf0))
				}
				script = script[1:]
			}
			h.Call(fn.Name, m, args)
		}
	})
}
