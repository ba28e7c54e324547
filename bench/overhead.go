package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/gw1"
)

// Programs of the rows about gw1; bench/programs has their sources and build.sh.
var (
	//go:embed programs/mark.wasm
	markWasm []byte
	//go:embed programs/float.wasm
	floatWasm []byte
	//go:embed programs/simd.wasm
	simdWasm []byte
	//go:embed programs/echo.wasm
	echoWasm []byte
	//go:embed programs/mark.py
	markPython string
)

// overheadRounds is how often each form of a program runs, in turns; the least CPU
// time of each form counts.
const overheadRounds = 7

func overheadMark(ctx context.Context, b *bench) error {
	return b.overhead(ctx, "overhead_coremark", kernel{markWasm, []string{"3000"}})
}

func overheadGo(ctx context.Context, b *bench) error {
	module, err := goProgram(ctx)
	if err != nil {
		return err
	}
	return b.overhead(ctx, "overhead_go", kernel{module, []string{"12"}})
}

func overheadPython(ctx context.Context, b *bench) error {
	module, err := pythonProgram()
	if err != nil {
		return err
	}
	return b.overhead(ctx, "overhead_cpython", kernel{module, []string{"-c", markPython, "2"}})
}

func overheadFloat(ctx context.Context, b *bench) error {
	return b.overhead(ctx, "overhead_float", kernel{floatWasm, []string{"nbody", "1000000"}}, kernel{floatWasm, []string{"matrix", "60"}})
}

func overheadSIMD(ctx context.Context, b *bench) error {
	return b.overhead(ctx, "overhead_simd", kernel{simdWasm, []string{"60"}})
}

// goProgram builds bench/programs/gomark.
func goProgram(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "gotong-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "gomark.wasm")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "github.com/gotong-network/gotong/bench/programs/gomark")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the Go program: %w: %s", err, text)
	}
	return os.ReadFile(out)
}

// pythonProgram is CPython for WASI, which scripts/deps.sh fetches.
func pythonProgram() ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(".deps", "python-*.wasm"))
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("want CPython for WASI in .deps, have %d: `make deps` fetches it", len(found))
	}
	return os.ReadFile(found[0])
}

// kernel is a module with its arguments.
type kernel struct {
	module []byte
	args   []string
}

// overhead runs kernels as they are and rewritten, both on the same engine with the
// same host, and keeps the greatest ratio of CPU times of the calls of _start.
// Instantiation is left out: rewritten modules are the faster ones there.
func (b *bench) overhead(ctx context.Context, row string, kernels ...kernel) error {
	for _, k := range kernels {
		ratio, err := b.ratio(ctx, k)
		if err != nil {
			return err
		}
		b.values[row] = max(b.values[row], ratio)
	}
	return nil
}

func (b *bench) ratio(ctx context.Context, k kernel) (float64, error) {
	s, err := newStage(ctx)
	if err != nil {
		return 0, err
	}
	defer s.runtime.Close(ctx)
	rewritten, err := gw1.Rewrite(k.module, gw1.Options{})
	if err != nil {
		return 0, err
	}
	forms := []*form{{name: "as it is"}, {name: "gw1", module: rewritten}}
	for _, f := range forms {
		binary := k.module
		if f.module != nil {
			binary = f.module.Binary
		}
		workers := experimental.WithCompilationWorkers(ctx, goruntime.GOMAXPROCS(0))
		if f.compiled, err = s.runtime.CompileModule(workers, binary); err != nil {
			return 0, fmt.Errorf("compile the program %s: %w", f.name, err)
		}
	}
	for range b.size(overheadRounds, 5) {
		for _, f := range forms {
			if err := s.run(ctx, f, k.args); err != nil {
				return 0, fmt.Errorf("run the program %s: %w", f.name, err)
			}
		}
		if !bytes.Equal(forms[0].stdout, forms[1].stdout) {
			return 0, fmt.Errorf("output %q as it is, %q rewritten", forms[0].stdout, forms[1].stdout)
		}
		forms[0], forms[1] = forms[1], forms[0] // whoever is first may be better off
	}
	plain, metered := forms[0], forms[1]
	if plain.module != nil {
		plain, metered = metered, plain
	}
	ratio := slices.Min(metered.cpu).Seconds() / slices.Min(plain.cpu).Seconds()
	name := k.args[0]
	if len(k.args) == 1 || name == "-c" {
		name = "program"
	}
	b.say("%s of %.1f MB: CPU %.1f ms as it is, %.1f ms as gw1, ratio %.3f (medians %.3f, wall %.3f); %.0f million fuel/s", name, float64(len(k.module))/1e6,
		slices.Min(plain.cpu).Seconds()*1e3, slices.Min(metered.cpu).Seconds()*1e3, ratio,
		quantile(metered.cpu, 0.5).Seconds()/quantile(plain.cpu, 0.5).Seconds(),
		slices.Min(metered.wall).Seconds()/slices.Min(plain.wall).Seconds(), float64(metered.fuel)/slices.Min(metered.cpu).Seconds()/1e6)
	return ratio, nil
}

// form is a program compiled in one of its forms, and what its runs took.
type form struct {
	name      string
	module    *gw1.Module // nil: as it is
	compiled  wazero.CompiledModule
	cpu, wall []time.Duration
	fuel      int64 // of the last run
	stdout    []byte
}

// stage is an engine with the profile's host functions, for one run at a time.
type stage struct {
	runtime wazero.Runtime
	host    *gw1.Host
}

func newStage(ctx context.Context) (*stage, error) {
	s := &stage{runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false))}
	modules := map[string]wazero.HostModuleBuilder{}
	for _, f := range gw1.Functions() {
		if modules[f.Module] == nil {
			modules[f.Module] = s.runtime.NewHostModuleBuilder(f.Module)
		}
		call := api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			errno := s.host.Call(f.Name, m.Memory(), stack[:len(f.Signature.Params)])
			if len(f.Signature.Results) > 0 {
				stack[0] = uint64(errno)
			}
		})
		modules[f.Module].NewFunctionBuilder().WithGoModuleFunction(call, f.Signature.Params, f.Signature.Results).Export(f.Name)
	}
	for _, m := range modules {
		if _, err := m.Instantiate(ctx); err != nil {
			return nil, errors.Join(err, s.runtime.Close(ctx))
		}
	}
	return s, nil
}

// run executes a form once in a fresh instance.
func (s *stage) run(ctx context.Context, f *form, args []string) error {
	m, err := s.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, reserved{}), f.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	defer m.Close(ctx)
	c := gw1.HostConfig{Args: append([]string{"program"}, args...), OutputCap: 1 << 20}
	if f.module != nil {
		fuel := m.ExportedGlobal(f.module.GlobalFuel).(api.MutableGlobal)
		fuel.Set(math.MaxInt64)
		c.Fuel = counter{fuel}
		defer func() { f.fuel = math.MaxInt64 - int64(fuel.Get()) }()
		if !m.Memory().Write(0, f.module.Image) {
			return errors.New("the image does not fit into the memory")
		}
	}
	if s.host, err = gw1.NewHost(c); err != nil {
		return err
	}
	start := m.ExportedFunction("_start")
	goruntime.GC() // what the run before left is not collected in this one
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	wall, cpu := time.Now(), threadCPU()
	_, err = start.Call(ctx)
	cpu = threadCPU() - cpu
	f.wall, f.cpu = append(f.wall, time.Since(wall)), append(f.cpu, cpu)
	f.stdout = bytes.Clone(s.host.Stdout())
	if exit := (*gw1.Exit)(nil); errors.As(err, &exit) && exit.Code == 0 {
		err = nil
	}
	if err == nil && len(f.stdout) == 0 {
		err = errors.New("it printed nothing")
	}
	if err != nil {
		return fmt.Errorf("%w; it said %q", err, s.host.Stderr())
	}
	return nil
}

// counter charges host calls to a module's own fuel.
type counter struct{ api.MutableGlobal }

// Charge implements gw1.Fuel.
func (c counter) Charge(n uint64) bool {
	c.Set(c.Get() - n)
	return int64(c.Get()) >= 0
}

// reserved gives every memory all addresses that it can grow to, as the runtime
// does, so that no form pays for copies.
type reserved struct{}

// reservedBytes bounds what a memory can grow to.
const reservedBytes = 1 << 30

// Allocate implements experimental.MemoryAllocator.
func (reserved) Allocate(_, _ uint64) experimental.LinearMemory {
	base, err := unix.Mmap(-1, 0, reservedBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Sprintf("reserve %d bytes of addresses: %v", reservedBytes, err))
	}
	return mapped(base)
}

type mapped []byte

// Reallocate implements experimental.LinearMemory.
func (m mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m)) {
		return nil
	}
	return m[:size:size]
}

// Free implements experimental.LinearMemory.
func (m mapped) Free() { _ = unix.Munmap(m) }

// threadCPU is the CPU time of this thread, which the caller has locked.
func threadCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		panic(fmt.Sprintf("CPU time of this thread: %v", err)) // it always has one
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
