//go:build linux && (amd64 || arm64)

package wasm

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Runtime runs gw1 programs in worker processes. It implements runtime.Runtime
// and runtime.Batcher.
type Runtime struct {
	cfg   Config
	dir   string // of this engine's programs
	slots chan struct{}
	spawn chan func() // to the thread that starts workers

	groups      *groups
	limits      *limiter                      // nil: not Config.Limited
	pace        atomic.Uint64                 // bits of a float64: see slowness
	prepareLoad func(moduleBytes uint64) load // tests lower these bounds
	loadLoad    func() load

	mu       sync.Mutex // guards the rest
	closed   bool
	idle     []*proc // the one used last at the end; at most maxIdle
	live     map[*proc]bool
	ended    time.Duration // CPU time of the workers that are not live any more
	programs map[work.ProgramID]*program
	sandbox  string // of the first worker
	ungroup  bool   // a group was to be had and could not be made; said once

	compiles atomic.Int32 // programs that are being prepared

	busy    sync.WaitGroup // calls that run
	spawner sync.WaitGroup
}

// program is a module that was asked for: preparing, ready or refused.
type program struct {
	done chan struct{} // closed when err is set
	err  error         // *runtime.Refused is kept; other faults are tried again

	failures int       // in a row, of the host
	again    time.Time // not to be tried before; zero: never
}

// maxPrograms bounds what is remembered of programs; beyond it the memory of
// refusals starts anew.
const maxPrograms = 4096

// errClosed reports a call to a runtime that was closed.
var errClosed = errors.New("the runtime is closed")

// New makes the cache folder and starts nothing yet. The process must call
// MaybeWorker first thing in main.
func New(cfg Config) (*Runtime, error) {
	if builtWithCgo {
		return nil, errors.New("wasm runtime: this program was built with cgo, whose threads the sandbox of a worker cannot confine: build it with CGO_ENABLED=0")
	}
	cfg = cfg.withDefaults()
	if cfg.Dir == "" || cfg.Blobs == nil {
		return nil, errors.New("wasm runtime: want a cache folder and a source of blobs")
	}
	if cfg.SelfExe == "" {
		cfg.SelfExe = "/proc/self/exe" // this very binary, even if its file was replaced meanwhile
	}
	dir, err := filepath.Abs(filepath.Join(cfg.Dir, cacheTag()))
	if err != nil {
		return nil, fmt.Errorf("wasm runtime: %w", err)
	}
	for _, d := range []string{dir, locksDir(dir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("wasm runtime: cache folder: %w", err)
		}
	}
	removeStale(dir)
	r := &Runtime{cfg: cfg, dir: dir, slots: make(chan struct{}, cfg.Slots), spawn: make(chan func()),
		groups: findGroups("/", cfg.Cgroup), prepareLoad: prepareLoad, loadLoad: loadLoad,
		live: map[*proc]bool{}, programs: map[work.ProgramID]*program{}}
	if cfg.Limited {
		r.prepareLimits()
	}
	r.spawner.Go(r.spawnLoop)
	return r, nil
}

// prepareLimits makes the group around all workers, if one can be had.
func (r *Runtime) prepareLimits() {
	if r.groups.parents["cpu"] == "" && r.cfg.Cgroup == CgroupDelegated {
		if own := findGroups("/", CgroupOwn); own.parents["cpu"] != "" {
			r.groups = own
		}
	}
	outer, err := r.groups.nest()
	if err != nil {
		r.cfg.Log.Warn("no control group around all workers: they are bounded by signals", "err", err)
	}
	r.limits = &limiter{group: outer}
	r.setPace(float64(goruntime.NumCPU()))
}

// Slots implements runtime.Runtime.
func (r *Runtime) Slots() int { return r.cfg.Slots }

// Sandbox says what confines the workers, once the first one has started: the
// kernel's filters, the limits of the process, and its control group or why it
// has none.
func (r *Runtime) Sandbox() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sandbox
}

// Compiling reports whether a program is being rewritten and compiled, which a
// program's first run waits for.
func (r *Runtime) Compiling() bool { return r.compiles.Load() > 0 }

// Close implements runtime.Runtime. Runs that go on end with a host fault.
func (r *Runtime) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		r.spawner.Wait() // whoever came first ends last
		return nil
	}
	r.closed = true
	idle := r.idle
	r.idle = nil
	for p := range r.live {
		p.kill()
	}
	r.mu.Unlock()
	for _, p := range idle {
		r.discard(p)
	}
	r.busy.Wait()
	close(r.spawn)
	r.spawner.Wait()
	r.limits.close()
	return nil
}

// Run implements runtime.Runtime.
func (r *Runtime) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	res := r.RunMany(ctx, []runtime.Task{t})[0]
	return res.Run, res.Err
}

// RunMany implements runtime.Batcher: the tasks run one after the other in one
// slot, and many of them cross to the worker and back together.
func (r *Runtime) RunMany(ctx context.Context, tasks []runtime.Task) []runtime.Result {
	results := make([]runtime.Result, len(tasks))
	fail := func(err error) []runtime.Result {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	if err := r.enter(); err != nil {
		return fail(err)
	}
	defer r.busy.Done()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	for at := 0; at < len(tasks); {
		at += r.chunk(ctx, tasks[at:], results[at:])
	}
	return results
}

func (r *Runtime) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &runtime.HostFault{Err: errClosed}
	}
	r.busy.Add(1)
	return nil
}

// What crosses to a worker at once. The bytes fit into the pipe, so that neither
// side can block the other.
const (
	chunkItems = 128
	chunkBytes = 48 << 10
	chunkFiles = 64 // descriptors: the kernel bounds how many are on their way
)

// chunk runs some tasks from the front, all of one program, and says how many.
func (r *Runtime) chunk(ctx context.Context, tasks []runtime.Task, results []runtime.Result) int {
	var jobs []*job
	var index []int
	defer func() {
		for _, j := range jobs {
			j.close()
		}
	}()
	n, size, files := 0, 0, 0
	for ; n < len(tasks) && n < chunkItems && tasks[n].Program == tasks[0].Program && tasks[n].Profile == tasks[0].Profile; n++ {
		j, err := r.prepare(ctx, &tasks[n])
		if err != nil {
			results[n].Err = err
			continue
		}
		if len(jobs) > 0 && (size+len(j.frame) > chunkBytes || files+len(j.files) > chunkFiles) {
			j.close()
			break
		}
		size, files = size+len(j.frame), files+len(j.files)
		jobs, index = append(jobs, j), append(index, n)
	}
	if len(jobs) == 0 {
		return n
	}
	outcome := r.exchange(ctx, jobs)
	for k := range jobs {
		if k < len(outcome) {
			results[index[k]] = outcome[k]
			continue
		}
		// The worker died somewhere behind the last answer: each of the rest gets a
		// run of its own, so that only the guilty one is at fault.
		results[index[k]] = r.alone(ctx, jobs[k])
	}
	return n
}

func (r *Runtime) alone(ctx context.Context, j *job) runtime.Result {
	return r.exchange(ctx, []*job{j})[0]
}

// prepare checks what does not need a worker and opens the inputs.
func (r *Runtime) prepare(ctx context.Context, t *runtime.Task) (*job, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case t.Item == nil:
		return nil, &runtime.Refused{Reason: "a task without an item"}
	case t.Profile != gw1.Version:
		return nil, &runtime.HostFault{Err: fmt.Errorf("profile %q is not the one of this build, %s: update, or run elsewhere", t.Profile, gw1.Version)}
	case t.Limits.MemoryBytes > r.cfg.MemoryBytes:
		return nil, &runtime.HostFault{Err: fmt.Errorf("the job allows %d bytes of memory, this host gives at most %d", t.Limits.MemoryBytes, r.cfg.MemoryBytes)}
	case r.memoryLimit() > 0 && t.Limits.MemoryBytes > r.memoryLimit():
		return nil, &runtime.HostFault{Err: fmt.Errorf("the job allows %d bytes of memory, this host's owner gives %d", t.Limits.MemoryBytes, r.memoryLimit())}
	case t.Program.Size > gw1.MaxModuleBytes:
		return nil, &runtime.Refused{Reason: fmt.Sprintf("module of %d bytes, %s takes at most %d", t.Program.Size, gw1.Version, gw1.MaxModuleBytes)}
	}
	return newJob(t, r.cfg.Blobs)
}

// exchange runs jobs of one program in one worker. It gives as many results as
// the worker answered, and at least one: a lone job always gets its result, its
// fault included.
func (r *Runtime) exchange(ctx context.Context, jobs []*job) []runtime.Result {
	p, err := r.worker(ctx, jobs[0])
	if err != nil {
		results := make([]runtime.Result, len(jobs))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	stop := context.AfterFunc(ctx, p.kill)
	results, err := r.converse(p, jobs)
	alive := stop() && err == nil
	if alive && !p.retire {
		r.release(p)
	} else {
		r.discard(p)
	}
	if err == nil {
		return results
	}
	if ctx.Err() != nil {
		for len(results) < len(jobs) {
			results = append(results, runtime.Result{Err: ctx.Err()})
		}
	} else if len(jobs) == 1 {
		results = []runtime.Result{{Err: &runtime.HostFault{Err: err}}}
	}
	return results
}

// converse sends the jobs and reads their answers. An error means that the
// worker is of no use any more; the results before it stand.
func (r *Runtime) converse(p *proc, jobs []*job) ([]runtime.Result, error) {
	results := make([]runtime.Result, 0, len(jobs))
	var pending []byte
	var all budget
	for _, j := range jobs {
		all = all.plus(r.budget(j.task.Limits))
	}
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.slowed(all.wall)))
	p.allowCPU(all.cpu)
	for _, j := range jobs {
		switch {
		case p.tooSmall(j):
		case len(j.files) > 0:
			if err := p.send(append(pending, j.frame...), j.files); err != nil {
				return nil, p.failed(err)
			}
			pending = pending[:0]
		case len(jobs) == 1:
			pending = j.frame
		default:
			pending = append(pending, j.frame...)
		}
	}
	if len(pending) > 0 {
		if err := p.send(pending, nil); err != nil {
			return nil, p.failed(err)
		}
	}
	for _, j := range jobs {
		limits := j.task.Limits
		if p.tooSmall(j) {
			results = append(results, runtime.Result{Err: &runtime.Refused{Reason: fmt.Sprintf(
				"the module needs %d bytes of memory to start, the job allows %d: raise the limit", p.ready.memoryMin, limits.MemoryBytes)}})
			continue
		}
		resp, err := p.receive(r.budget(limits), limits.OutputBytes)
		if err != nil {
			return results, err
		}
		if resp.fault != "" {
			results = append(results, runtime.Result{Err: &runtime.HostFault{Err: errors.New(resp.fault)}})
			continue
		}
		run, err := j.finish(resp)
		results = append(results, runtime.Result{Run: run, Err: err})
	}
	return results, nil
}

func (r *Runtime) budget(l work.Limits) budget { return budget{r.cfg.Timeout(l), r.cfg.CPUTime(l)} }

// tooSmall reports a job whose limit the module does not even start in.
func (p *proc) tooSmall(j *job) bool { return j.task.Limits.MemoryBytes < p.ready.memoryMin }

// loadAttempts bounds how often a program is loaded: other processes that share
// the cache may trim it, or make it anew, between the look and the load.
const loadAttempts = 3

// worker gives a live worker of the job's program: a warm one, or a new one. A
// folder that turns out to be damaged is removed once, and made again.
func (r *Runtime) worker(ctx context.Context, j *job) (*proc, error) {
	if p := r.warm(j.program); p != nil {
		return p, nil
	}
	removed := false
	for attempt := 1; ; attempt++ {
		if err := r.ensure(ctx, j); err != nil {
			return nil, err
		}
		held, err := holdFolder(r.programDir(j.program))
		if err != nil {
			return nil, &runtime.HostFault{Err: fmt.Errorf("load program %s: %w", j.program.Short(), err)}
		}
		p, err := r.load(ctx, j)
		if errors.Is(err, errCorrupt) && !removed && attempt < loadAttempts {
			r.cfg.Log.Warn("a cached program is damaged or gone and is compiled again", "program", j.program.Short(), "why", err)
			r.forget(j.program)
			removed, err = r.removeDamaged(ctx, j.program, held)
		}
		held.Close()
		if p != nil || err != nil {
			return p, err
		}
	}
}

// load starts a worker that loads the program from its folder. The error is
// errCorrupt if the folder is of no use.
func (r *Runtime) load(ctx context.Context, j *job) (*proc, error) {
	dir := r.programDir(j.program)
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, sealFile), now, now) // for trimCache; it may be gone
	p, err := r.startWorker(ctx, hello{dir: dir, memory: r.cfg.MemoryBytes, output: r.cfg.OutputBytes}, r.loadLoad())
	if err != nil {
		return nil, err
	}
	p.program = j.program
	switch p.ready.kind {
	case readyOK:
		r.noteSandbox(p)
		return p, nil
	case readyCorrupt:
		err = fmt.Errorf("%w: %s", errCorrupt, p.ready.text)
	default:
		err = errors.New(p.ready.text)
	}
	r.discard(p)
	return nil, &runtime.HostFault{Err: fmt.Errorf("load program %s: %w", j.program.Short(), err)}
}

// warm takes an idle worker of the program.
func (r *Runtime) warm(id work.ProgramID) *proc {
	for {
		r.mu.Lock()
		k := -1
		for i, p := range r.idle {
			if p.program == id {
				k = i
			}
		}
		if k < 0 {
			r.mu.Unlock()
			return nil
		}
		p := r.idle[k]
		r.idle = slices.Delete(r.idle, k, k+1)
		r.mu.Unlock()
		if !p.ended() {
			return p
		}
		r.discard(p)
	}
}

// release keeps a worker warm, and ends the one that was used longest ago if
// there are too many.
func (r *Runtime) release(p *proc) {
	p.allowCPU(idleCPU)
	r.mu.Lock()
	var oldest *proc
	if r.closed {
		oldest = p
	} else if r.idle = append(r.idle, p); len(r.idle) > r.maxIdle() {
		oldest = r.idle[0]
		r.idle = slices.Delete(r.idle, 0, 1)
	}
	r.mu.Unlock()
	if oldest != nil {
		r.discard(oldest)
	}
}

// maxIdle bounds the warm workers: enough for a few programs that take turns.
func (r *Runtime) maxIdle() int { return max(4, 2*r.cfg.Slots) }

func (r *Runtime) discard(p *proc) {
	p.close()
	r.mu.Lock()
	if r.live[p] {
		r.ended += p.usedLocked()
		delete(r.live, p)
	}
	r.mu.Unlock()
}

// startWorker starts a process and greets it.
func (r *Runtime) startWorker(ctx context.Context, h hello, l load, files ...*os.File) (*proc, error) {
	var p *proc
	var err error
	started := make(chan struct{})
	threads := 2 // the item's, and one for the collector
	if h.prepare {
		threads = min(8, goruntime.NumCPU())
	}
	r.spawn <- func() {
		p, err = startProc(r.cfg.SelfExe, threads)
		close(started)
	}
	<-started
	if err != nil {
		return nil, &runtime.HostFault{Err: err}
	}
	p.slowness = r.slowness
	r.mu.Lock()
	r.live[p] = true
	if r.closed {
		p.kill()
	}
	r.mu.Unlock()
	r.humble(p)
	r.regroup(p, groupLimits{memory: l.data + groupSlack, pids: maxThreads, cores: threads})
	h.data = l.data
	if _, err := p.greet(ctx, h, budget{l.wall, l.cpu}, files...); err != nil {
		r.discard(p)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &runtime.HostFault{Err: err}
	}
	return p, nil
}

// spawnLoop starts processes from one thread that lives as long as the runtime:
// the kernel kills a worker when the thread that started it ends.
func (r *Runtime) spawnLoop() {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	for f := range r.spawn {
		f()
	}
}

// Bounds of a worker's group beside its memory.
const (
	maxThreads = 64
	// groupSlack is what a group counts and RLIMIT_DATA does not: the memory image,
	// page tables, the program's text.
	groupSlack = gw1.MaxImageBytes + 192<<20
)

// regroup puts a new worker into a group of its own, where groups can be had. A
// worker without one still has its own limits, so that a fault is said and no more.
func (r *Runtime) regroup(p *proc, l groupLimits) {
	if r.groups.version == 0 {
		return
	}
	l.cores = r.ownCores(l.cores)
	g, err := r.groups.create(l)
	if err == nil {
		if err = g.add(p.cmd.Process.Pid); err == nil {
			p.group = g
			return
		}
		g.remove()
	}
	r.mu.Lock()
	first := !r.ungroup
	r.ungroup = true
	r.mu.Unlock()
	if first {
		r.cfg.Log.Warn("a worker runs without a control group", "error", err)
	}
}

// ownCores bounds one worker's CPU time in its own group. In a group of version 1
// it must not exceed the one around it, which moves: there that one alone bounds.
func (r *Runtime) ownCores(n int) int {
	if r.limits != nil && r.groups.version == 1 {
		return 0
	}
	return n
}

// humble gives a worker the lowest priority if signals are all that bounds it.
func (r *Runtime) humble(p *proc) {
	if r.limits == nil || r.limits.group.has("cpu") {
		return
	}
	if err := p.humble(); err != nil {
		r.cfg.Log.Warn("a worker keeps its priority", "err", err)
	}
}

// noteSandbox lowers the group's memory to what a loaded worker needs, and says
// once what holds.
func (r *Runtime) noteSandbox(p *proc) {
	text := p.ready.sandbox
	if p.noCPULimit == nil {
		text += ", RLIMIT_CPU"
	} else {
		text += fmt.Sprintf(", no RLIMIT_CPU (%v)", p.noCPULimit)
	}
	switch {
	case p.group != nil:
		l := groupLimits{memory: p.ready.dataBytes + groupSlack, pids: maxThreads, cores: r.ownCores(2)}
		if err := p.group.set(l); err != nil {
			r.cfg.Log.Warn("a worker's control group keeps its first limits", "error", err)
		}
		text += ", " + r.groups.String()
	case r.groups.version > 0:
		text += ", no control group (it could not be made)"
	default:
		text += ", " + r.groups.String()
	}
	r.mu.Lock()
	first := r.sandbox == ""
	r.sandbox = text
	r.mu.Unlock()
	if !first {
		return
	}
	if strings.Contains(text, "no landlock") || strings.Contains(text, "no seccomp") {
		r.cfg.Log.Warn("the kernel confines workers only in part", "sandbox", text)
	} else {
		r.cfg.Log.Info("workers are confined", "sandbox", text)
	}
}

func (r *Runtime) programDir(id work.ProgramID) string { return filepath.Join(r.dir, id.String()) }

// ensure makes the program's folder be there: rewritten, compiled and sealed, by
// one worker for all who wait.
func (r *Runtime) ensure(ctx context.Context, j *job) error {
	pr, ours := r.claim(j.program)
	if ours {
		r.prepareOnce(ctx, j, pr)
		return pr.err
	}
	select {
	case <-pr.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if isCancel(pr.err) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return r.ensure(ctx, j) // whoever compiled gave up, not we
	}
	return pr.err
}

// claim gives what is known of a program, and whether the caller is to prepare it.
func (r *Runtime) claim(id work.ProgramID) (pr *program, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pr = r.programs[id]
	failures := 0
	if pr != nil {
		if pr.again.IsZero() || time.Now().Before(pr.again) {
			return pr, false
		}
		failures = pr.failures
	}
	if len(r.programs) >= maxPrograms {
		r.programs = map[work.ProgramID]*program{}
	}
	pr = &program{done: make(chan struct{}), failures: failures}
	r.programs[id] = pr
	return pr, true
}

// prepareOnce fills in pr. A fault of the host is kept for a while, so that a
// module which is too dear to compile does not take every second of this host.
func (r *Runtime) prepareOnce(ctx context.Context, j *job, pr *program) {
	defer close(pr.done)
	pr.err = r.compile(ctx, j)
	var refused *runtime.Refused
	var fault *runtime.HostFault
	switch {
	case pr.err == nil:
	case errors.As(pr.err, &refused):
	case errors.As(pr.err, &fault):
		r.mu.Lock()
		defer r.mu.Unlock()
		pr.failures++
		wait := retryAfter(pr.failures)
		pr.again = time.Now().Add(wait)
		if wait > 0 {
			pr.err = &runtime.HostFault{Err: fmt.Errorf("%w; tried %d times, the next time is in %s", fault.Err, pr.failures, wait)}
		}
	default:
		r.forget(j.program)
	}
}

func isCancel(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (r *Runtime) forget(id work.ProgramID) {
	r.mu.Lock()
	delete(r.programs, id)
	r.mu.Unlock()
}

// lockFile is locked while a program is compiled. Lock files stay, because
// removing one would let two hold the lock; so programs share 256 of them.
func (r *Runtime) lockFile(id work.ProgramID) string {
	return filepath.Join(locksDir(r.dir), hex.EncodeToString(id[:1]))
}

// locksDir is beside the folder of an engine's programs.
func locksDir(dir string) string { return filepath.Join(filepath.Dir(dir), "locks") }

// holdFolder opens what is at the path, whatever it is, so that it can be known
// again: names and inode numbers are given away anew, not those of open files.
// It gives nil if there is nothing.
func holdFolder(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// removeDamaged removes the program's folder if it is still the held one, and says
// whether it was: whoever shares the cache may have seen the damage too, and have
// made another.
func (r *Runtime) removeDamaged(ctx context.Context, id work.ProgramID, held *os.File) (bool, error) {
	if held == nil {
		return false, nil
	}
	lock, err := r.lockProgram(ctx, id)
	if err != nil {
		return false, err
	}
	defer lock.Unlock()
	was, err := held.Stat()
	if err != nil {
		return false, &runtime.HostFault{Err: err}
	}
	dir := r.programDir(id)
	is, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(was, is) {
		return false, nil
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return false, &runtime.HostFault{Err: fmt.Errorf("remove a damaged program: %w", err)}
	}
	return true, nil
}

// lockProgram waits until no runtime or process that shares the cache makes or
// removes the program's folder. The error is the context's, or a fault of the host.
// Unlocking closes the lock's file: nothing can be done about a fault of that.
func (r *Runtime) lockProgram(ctx context.Context, id work.ProgramID) (*flock.Flock, error) {
	lock := flock.New(r.lockFile(id))
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &runtime.HostFault{Err: fmt.Errorf("lock the cache of compiled programs: %w", err)}
	}
	return lock, nil
}

// freshPrefix begins the names of folders that are being filled.
const freshPrefix = ".fresh-"

// compile fills a new folder and renames it, so that processes may share the
// cache: whoever comes second finds the first one's folder, which is as good.
func (r *Runtime) compile(ctx context.Context, j *job) error {
	r.compiles.Add(1)
	defer r.compiles.Add(-1)
	dir := r.programDir(j.program)
	// Compiling takes seconds of a core: of all runtimes and processes that share
	// the cache, one does it, and the others wait.
	lock, err := r.lockProgram(ctx, j.program)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := os.Stat(filepath.Join(dir, sealFile)); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil { // what lost its seal
		return &runtime.HostFault{Err: err}
	}
	id := j.task.Program
	blob, err := r.cfg.Blobs.Open(id)
	if errors.Is(err, runtime.ErrBlobMissing) {
		return fmt.Errorf("program %s: %w", id, err)
	}
	if err != nil {
		return &runtime.HostFault{Err: err}
	}
	defer blob.Close()
	module, err := asFile(blob, id.Size)
	if err != nil {
		return &runtime.HostFault{Err: err}
	}
	defer module.Close()
	fresh, err := os.MkdirTemp(r.dir, freshPrefix)
	if err != nil {
		return &runtime.HostFault{Err: err}
	}
	defer os.RemoveAll(fresh) // after the rename there is nothing left
	start := time.Now()
	p, err := r.startWorker(ctx, hello{dir: fresh, prepare: true, module: id.Size}, r.prepareLoad(id.Size), module)
	if fault := (*runtime.HostFault)(nil); errors.As(err, &fault) {
		err = &runtime.HostFault{Err: fmt.Errorf("prepare program %s of %d bytes: %w", j.program.Short(), id.Size, fault.Err)}
	}
	if err != nil {
		return err
	}
	defer r.discard(p)
	switch p.ready.kind {
	case readyOK:
	case readyRefused:
		return &runtime.Refused{Reason: p.ready.text}
	default:
		return &runtime.HostFault{Err: fmt.Errorf("prepare program %s: %s", j.program.Short(), p.ready.text)}
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, gone := os.Stat(filepath.Join(dir, sealFile)); gone != nil {
			return &runtime.HostFault{Err: fmt.Errorf("keep a compiled program: %w", err)}
		}
	}
	r.cfg.Log.Debug("compiled a program", "program", j.program.Short(), "bytes", id.Size, "took", time.Since(start))
	if err := trimCache(r.dir, dir, r.cfg.CacheBytes); err != nil {
		r.cfg.Log.Warn("the cache of compiled programs could not be trimmed", "error", err)
	}
	return nil
}

// removeStale removes folders that a killed process left half filled.
func removeStale(dir string) {
	list, err := filepath.Glob(filepath.Join(dir, freshPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range list {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(path) // only space is lost if it stays
		}
	}
}
