//go:build linux && (amd64 || arm64)

package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

// workerName is os.Args[0] of a worker process; no program is installed under it.
const workerName = "gotong-wasm-worker"

// workerFD is the worker's end of the pipe.
const workerFD = 3

// When a worker asks to be replaced: both bound what a leak can grow to.
const (
	retireItems = 200_000
	retireBytes = 256 << 20 // the Go heap, grown since the start
)

// flushAfter is how long the answers of finished items may wait for those behind
// them, also while a long item runs.
const flushAfter = time.Millisecond

// MaybeWorker returns at once, unless this process was started as a worker: then
// it never returns. Call it first thing in main, and in TestMain of packages
// whose tests run programs.
func MaybeWorker() {
	if len(os.Args) == 0 || os.Args[0] != workerName {
		return
	}
	if err := workerMain(); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", workerName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func workerMain() error {
	if err := dieOfCPU(); err != nil {
		return err
	}
	if err := closeInherited(); err != nil {
		return err
	}
	c := &workerConn{fd: workerFD}
	reach(stageStarting, c)
	body, err := c.frame()
	if err != nil {
		return fmt.Errorf("first frame: %w", err)
	}
	h, err := decodeHello(body)
	if err != nil {
		return fmt.Errorf("first frame: %w", err)
	}
	if h.prepare {
		return c.ready(prepareProgram(c, h))
	}
	return serve(c, h)
}

// closeInherited closes what a careless parent of the parent left open. The Go
// runtime's own descriptors are anonymous inodes and stay.
func closeInherited() error {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list descriptors: %w", err)
	}
	for _, d := range list {
		fd, err := strconv.Atoi(d.Name())
		if err != nil || fd <= workerFD {
			continue
		}
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// prepareProgram rewrites and compiles a stranger's module inside the first
// sandbox, and leaves the result in the program's folder.
func prepareProgram(c *workerConn, h hello) *ready {
	fail := func(err error) *ready { return &ready{kind: readyFailed, text: err.Error()} }
	state, err := enterSandbox(h.dir, h.data, true)
	if err != nil {
		return fail(err)
	}
	debug.SetMemoryLimit(int64(h.data / 8 * 7)) // before the limit the collector works harder
	files, err := c.take(1)
	if err != nil {
		return fail(err)
	}
	module := make([]byte, h.module)
	if _, err := io.ReadFull(io.NewSectionReader(files[0], 0, int64(h.module)), module); err != nil {
		return fail(fmt.Errorf("read the module: %w", err))
	}
	reach(stagePreparing, c)
	m, err := gw1.Rewrite(module, gw1.Options{})
	if err != nil {
		return &ready{kind: readyRefused, text: err.Error()}
	}
	if err := writeRewritten(h.dir, m); err != nil {
		return fail(err)
	}
	reach(stageCompiling, c)
	e, err := newEngine(context.Background(), m, h.dir, h.memory)
	if err != nil {
		return fail(err)
	}
	reach(stageSealing, c)
	if err := errors.Join(e.close(), seal(h.dir)); err != nil {
		return fail(err)
	}
	return &ready{kind: readyOK, sandbox: state.String(), memoryMin: m.MemoryMin}
}

// serve loads the program, closes the sandbox for good and answers requests
// until the parent hangs up.
func serve(c *workerConn, h hello) error {
	w, r := newWorker(h)
	if r.kind == readyOK {
		if err := w.confine(h); err != nil {
			r = &ready{kind: readyFailed, text: err.Error()}
		} else {
			r.sandbox, r.dataBytes = w.sandbox.String(), w.sandbox.dataBytes
		}
	}
	if err := c.ready(r); err != nil || r.kind != readyOK {
		return err
	}
	reach(stageServing, c)
	return w.loop(c)
}

// Stages of a worker's life.
const (
	stageStarting      = "starting"
	stagePreparing     = "preparing" // the module was read, inside the first sandbox
	stageCompiling     = "compiling"
	stageSealing       = "sealing"
	stageLoading       = "loading"
	stageServing       = "serving" // inside the closed sandbox
	stageInstantiating = "instantiating"
	stageRunning       = "running"
	stageWriting       = "writing" // between an answer's frame and its bytes
	stageAnswered      = "answered"
)

// atStage is set by tests only: a worker that dies, hangs or turns hostile there.
var atStage func(stage string, c *workerConn)

func reach(stage string, c *workerConn) {
	if atStage != nil {
		atStage(stage, c)
	}
}

type worker struct {
	engine   *engine
	sandbox  *sandbox
	pagemap  *os.File
	statm    *os.File
	baseHeap uint64
	items    int
}

func newWorker(h hello) (*worker, *ready) {
	fail := func(err error) (*worker, *ready) { return nil, &ready{kind: readyFailed, text: err.Error()} }
	w := &worker{}
	var err error
	if w.statm, err = os.Open("/proc/self/statm"); err != nil {
		return fail(err)
	}
	w.pagemap, _ = os.Open("/proc/self/pagemap") // without it the digest reads every page
	w.sandbox, err = enterSandbox(h.dir, h.data, false)
	if errors.Is(err, fs.ErrNotExist) { // another process has removed it
		return nil, &ready{kind: readyCorrupt, text: err.Error()}
	}
	if err != nil {
		return fail(err)
	}
	m, err := readSealed(h.dir)
	if err != nil {
		return nil, &ready{kind: readyCorrupt, text: err.Error()}
	}
	reach(stageLoading, nil)
	if w.engine, err = newEngine(context.Background(), m, h.dir, h.memory); err != nil {
		return nil, &ready{kind: readyCorrupt, text: err.Error()}
	}
	m.Binary = nil // compiled: nobody reads it again
	w.engine.arena.pagemap = w.pagemap
	return w, &ready{kind: readyOK, memoryMin: m.MemoryMin}
}

// confine bounds the worker's memory by what it has now and what an item may
// take, and takes every path away.
func (w *worker) confine(h hello) error {
	goruntime.GC()
	debug.FreeOSMemory()
	data, err := dataBytes(w.statm)
	w.statm.Close()
	if err != nil {
		return err
	}
	var ms goruntime.MemStats
	goruntime.ReadMemStats(&ms)
	w.baseHeap = ms.HeapSys
	// Output grows by copying: old and new together are less than three times it.
	own := uint64(engineBytes) + 3*h.output
	debug.SetMemoryLimit(int64(ms.Sys + own - engineBytes/4))
	return w.sandbox.close(data + h.memory + own)
}

// engineBytes is what the engine may take beside linear memory and output: the
// Go heap, stacks of deep recursion, scratch files of the item.
const engineBytes = 320 << 20

// dataBytes is the memory that RLIMIT_DATA counts.
func dataBytes(statm *os.File) (uint64, error) {
	var b [256]byte
	n, err := statm.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return 0, fmt.Errorf("read the worker's size: %w", err)
	}
	fields := bytes.Fields(b[:n])
	if len(fields) < 6 {
		return 0, fmt.Errorf("read the worker's size: %q", b[:n])
	}
	pages, err := strconv.ParseUint(string(fields[5]), 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

func (w *worker) loop(c *workerConn) error {
	for {
		body, err := c.frame()
		if err != nil {
			return err
		}
		r, err := decodeRequest(body)
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		if err := c.send(w.answer(c, r)); err != nil {
			return err
		}
		reach(stageAnswered, c)
	}
}

func (w *worker) answer(c *workerConn, r *request) *response {
	files, err := c.take(r.descriptors())
	defer closeAll(files)
	var resp *response
	if err == nil {
		readers := make([]io.ReaderAt, len(files))
		for i, f := range files {
			readers[i] = f
		}
		resp, err = w.engine.run(r, readers)
	}
	if err != nil {
		resp = &response{fault: err.Error()}
	}
	w.items++
	resp.retire = err != nil || w.items >= retireItems || w.items%1024 == 0 && w.grown()
	return resp
}

func (w *worker) grown() bool {
	var ms goruntime.MemStats
	goruntime.ReadMemStats(&ms)
	return ms.HeapSys > w.baseHeap+retireBytes
}

// descriptors is how many descriptors travel with the request.
func (r *request) descriptors() int {
	n := 0
	count := func(in *input) {
		if in.size > 0 && !in.inline {
			n++
		}
	}
	count(&r.stdin)
	for i := range r.files {
		count(&r.files[i])
	}
	return n
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// workerConn is the worker's end of the pipe: blocking, for one goroutine, and for
// late, which sends what waits.
type workerConn struct {
	fd     int
	buf    []byte
	lo, hi int // unread part of buf
	oob    []byte
	fds    []int

	mu   sync.Mutex  // guards the rest, and writing
	out  []byte      // answers that wait
	late *time.Timer // set when the first of them came
}

// frame gives the next frame; it is valid until the next call. Answers that wait
// are sent before the worker would block.
func (c *workerConn) frame() ([]byte, error) {
	if err := c.need(4); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(c.buf[c.lo:]))
	if n > maxRequestBytes {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	if err := c.need(4 + n); err != nil {
		return nil, err
	}
	b := c.buf[c.lo+4 : c.lo+4+n]
	c.lo += 4 + n
	return b, nil
}

// need makes n bytes available behind lo.
func (c *workerConn) need(n int) error {
	for c.hi-c.lo < n {
		if err := c.flush(); err != nil {
			return err
		}
		c.room(n)
		if err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}

func (c *workerConn) room(n int) {
	const chunk = 64 << 10
	if c.lo == c.hi {
		c.lo, c.hi = 0, 0
	}
	if c.lo+n <= len(c.buf) && c.hi < len(c.buf) {
		return
	}
	to := c.buf
	if n > len(c.buf) {
		to = make([]byte, max(n, chunk))
	}
	copy(to, c.buf[c.lo:c.hi])
	c.buf, c.lo, c.hi = to, 0, c.hi-c.lo
}

// maxPassed is how many descriptors one message carries; the kernel takes 253.
const maxPassed = 200

func (c *workerConn) receive() error {
	if c.oob == nil {
		c.oob = make([]byte, unix.CmsgSpace(4*maxPassed))
	}
	for {
		n, oobn, _, _, err := unix.Recvmsg(c.fd, c.buf[c.hi:], c.oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case n == 0:
			return io.EOF
		}
		c.hi += n
		if oobn == 0 {
			return nil
		}
		return c.collect(c.oob[:oobn])
	}
}

func (c *workerConn) collect(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("receive descriptors: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("receive descriptors: %w", err)
		}
		c.fds = append(c.fds, fds...)
	}
	return nil
}

// take gives the next n descriptors.
func (c *workerConn) take(n int) ([]*os.File, error) {
	if n > len(c.fds) {
		return nil, fmt.Errorf("%w: %d descriptors came, want %d", errFault, len(c.fds), n)
	}
	files := make([]*os.File, n)
	for i := range files {
		files[i] = os.NewFile(uintptr(c.fds[i]), "input")
	}
	c.fds = append(c.fds[:0], c.fds[n:]...)
	return files, nil
}

func (c *workerConn) ready(r *ready) error {
	b := r.encode()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(b)))
	c.out = append(c.out, b...)
	return c.flushLocked()
}

// send queues an answer; large output goes out at once.
func (c *workerConn) send(r *response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		c.flushLater()
	}
	c.out = append(c.out, frame(func(e *work.Encoder) { r.encode(e) })...)
	if err := c.payload(r.stdout); err != nil {
		return err
	}
	if err := c.payload(r.stderr); err != nil {
		return err
	}
	for _, f := range r.files {
		if err := c.payload(f.Bytes); err != nil {
			return err
		}
	}
	return nil
}

func (c *workerConn) payload(b []byte) error {
	const queue = 32 << 10
	if len(c.out)+len(b) <= queue {
		c.out = append(c.out, b...)
		return nil
	}
	if err := c.flushLocked(); err != nil {
		return err
	}
	reach(stageWriting, c)
	return c.write(b)
}

// flushLater sends what will wait by then. A broken pipe is for the next call to
// notice.
func (c *workerConn) flushLater() {
	if c.late == nil {
		c.late = time.AfterFunc(flushAfter, func() { _ = c.flush() })
	} else {
		c.late.Reset(flushAfter)
	}
}

func (c *workerConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushLocked()
}

func (c *workerConn) flushLocked() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *workerConn) write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		b = b[n:]
	}
	return nil
}
