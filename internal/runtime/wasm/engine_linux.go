//go:build linux && (amd64 || arm64)

package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	goruntime "runtime"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

// engine runs one program, one item at a time. It lives in a worker process.
type engine struct {
	module   *gw1.Module
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	config   wazero.ModuleConfig
	arena    *arena
	digester digester
	ctx      context.Context // of instantiation: carries the allocator, nothing else

	// Of the item that runs; WASI calls find them here.
	host *gw1.Host
	fuel fuelGlobal
}

// newEngine compiles a rewritten module, or loads it from the compilation cache
// below dir. memory bounds the linear memory of every item.
func newEngine(ctx context.Context, m *gw1.Module, dir string, memory uint64) (*engine, error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	// Never close-on-context: it costs five times the speed, and fuel bounds a run.
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(api.CoreFeaturesV2).WithCompilationCache(cache).WithDebugInfoEnabled(false))
	e := &engine{module: m, runtime: rt, config: wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithRandSource(bytes.NewReader(nil))} // nobody reads it; the default one costs as much as an instance
	if err := e.registerHost(ctx); err != nil {
		return nil, err
	}
	compileCtx := experimental.WithCompilationWorkers(ctx, goruntime.GOMAXPROCS(0))
	if e.compiled, err = rt.CompileModule(compileCtx, m.Binary); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	if e.arena, err = newArena(m.Image, min(m.MemoryMax, memory)); err != nil {
		return nil, err
	}
	e.ctx = experimental.WithMemoryAllocator(ctx, e.arena)
	return e, nil
}

func (e *engine) close() error { return e.runtime.Close(context.Background()) }

// registerHost gives the engine every WASI function of the profile once; which
// item they answer is e.host.
func (e *engine) registerHost(ctx context.Context) error {
	modules := map[string]wazero.HostModuleBuilder{}
	for _, f := range gw1.Functions() {
		b := modules[f.Module]
		if b == nil {
			b = e.runtime.NewHostModuleBuilder(f.Module)
			modules[f.Module] = b
		}
		name, params, answers := f.Name, len(f.Signature.Params), len(f.Signature.Results) > 0
		call := api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			var mem gw1.Memory
			if e.arena.size > 0 {
				mem = e.arena
			}
			errno := e.host.Call(name, mem, stack[:params])
			if answers {
				stack[0] = uint64(errno)
			}
		})
		b.NewFunctionBuilder().WithGoModuleFunction(call, f.Signature.Params, f.Signature.Results).Export(name)
	}
	for name, b := range modules {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
	}
	return nil
}

// fuelGlobal charges host calls to the program's own counter.
type fuelGlobal struct{ g api.MutableGlobal }

// Charge implements gw1.Fuel.
func (f fuelGlobal) Charge(n uint64) bool {
	left := int64(f.g.Get()) - int64(min(n, math.MaxInt64/2))
	f.g.Set(uint64(left))
	return left >= 0
}

// lateFuel breaks the circle of host and instance: the host is made before the
// instance that holds the counter.
type lateFuel struct{ e *engine }

func (l lateFuel) Charge(n uint64) bool { return l.e.fuel.Charge(n) }

// errFault reports that the host failed and the item has no result.
var errFault = errors.New("host fault")

// run executes one item in a fresh instance. Its inputs are in r, those that are
// not inline come from files in the order stdin, files. An error is a fault of
// the host.
func (e *engine) run(r *request, files []io.ReaderAt) (resp *response, err error) {
	host, err := gw1.NewHost(e.hostConfig(r, files))
	if err != nil {
		return &response{refused: err.Error()}, nil
	}
	if !r.began {
		resp = &response{outcome: work.Outcome{Kind: work.OutOfFuel}}
		resp.memory, resp.blocks = e.digester.memory(nil, nil, nil, nil)
		return resp, nil
	}
	if r.memory < e.module.MemoryMin {
		return nil, fmt.Errorf("%w: %d bytes of memory for a module that starts with %d", errFault, r.memory, e.module.MemoryMin)
	}
	e.host = host
	e.arena.begin(r.memory)
	defer e.arena.Free()
	reach(stageInstantiating, nil)
	instance, err := e.instantiate()
	if err != nil {
		return nil, err
	}
	defer instance.Close(e.ctx)
	trap := instance.ExportedGlobal(e.module.GlobalTrap)
	e.fuel = fuelGlobal{instance.ExportedGlobal(e.module.GlobalFuel).(api.MutableGlobal)}
	start := min(r.fuel, math.MaxInt64)
	e.fuel.g.Set(start)
	reach(stageRunning, nil)
	_, callErr := instance.ExportedFunction("_start").Call(e.ctx)
	if e.arena.fault != nil {
		return nil, fmt.Errorf("%w: the host has no memory for the item: %w", errFault, e.arena.fault)
	}
	outcome, err := outcomeOf(callErr, uint32(trap.Get()))
	if err != nil {
		return nil, err
	}
	resp = &response{outcome: outcome, stdout: host.Stdout(), stderr: host.Stderr(), files: host.OutputFiles()}
	if left := int64(e.fuel.g.Get()); left < 0 || outcome.Kind == work.OutOfFuel {
		resp.outcome, resp.fuel = work.Outcome{Kind: work.OutOfFuel}, r.fuel
	} else {
		resp.fuel = start - uint64(left)
	}
	resp.memory, resp.blocks = e.digest(instance)
	return resp, nil
}

// instantiate turns a panic of the engine, such as a minimum memory that could
// not be had, into a fault.
func (e *engine) instantiate() (m api.Module, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: instantiate: %v (%w)", errFault, r, e.arena.fault)
		}
	}()
	return e.runtime.InstantiateModule(e.ctx, e.compiled, e.config)
}

func (e *engine) hostConfig(r *request, files []io.ReaderAt) gw1.HostConfig {
	open := func(in *input) gw1.File {
		f := gw1.File{Size: int64(in.size)}
		switch {
		case in.size == 0:
		case in.inline:
			f.ReaderAt = bytes.NewReader(in.bytes)
		default:
			f.ReaderAt, files = files[0], files[1:]
		}
		return f
	}
	c := gw1.HostConfig{Args: r.args, Env: r.env, Stdin: open(&r.stdin), OutputCap: r.output, Seed: r.seed, Fuel: lateFuel{e}}
	if len(r.files) > 0 {
		c.Files = make([]gw1.HostFile, len(r.files))
		for i := range r.files {
			c.Files[i] = gw1.HostFile{Path: r.files[i].path, File: open(&r.files[i])}
		}
	}
	return c
}

// outcomeOf tells apart what ended a run. An error is a fault of the host.
func outcomeOf(err error, trap uint32) (work.Outcome, error) {
	var exit *gw1.Exit
	var stop *gw1.Stop
	switch {
	case err == nil:
		return work.Outcome{Kind: work.Exited}, nil
	case errors.As(err, &exit):
		return work.Outcome{Kind: work.Exited, Code: exit.Code}, nil
	case errors.As(err, &stop):
		switch stop.Reason {
		case gw1.StopFuel:
			return work.Outcome{Kind: work.OutOfFuel}, nil
		case gw1.StopOutput:
			return work.Outcome{Kind: work.OutputCapped}, nil
		}
		return work.Outcome{}, fmt.Errorf("%w: %w", errFault, stop)
	case trap == gw1.TrapFuel:
		return work.Outcome{Kind: work.OutOfFuel}, nil
	case trap == gw1.TrapDepth:
		return work.Outcome{Kind: work.OutOfDepth}, nil
	case strings.HasPrefix(err.Error(), "wasm error: ") && !strings.Contains(err.Error(), "stack overflow"):
		return work.Outcome{Kind: work.Trapped}, nil
	}
	// The engine's own stack ended before the profile's, or a panic in the host:
	// another machine may fare differently, so it is no result.
	return work.Outcome{}, fmt.Errorf("%w: engine: %w", errFault, err)
}

func (e *engine) digest(instance api.Module) (work.Hash, uint64) {
	globals := encodeGlobals(e.module.MutableGlobals, func(i int) (lo, hi uint64) {
		g := e.module.MutableGlobals[i]
		return globalBits(instance.ExportedGlobal(g.Name), g.Type)
	})
	return e.digester.memory(e.arena.bytes(), e.module.Image, e.arena.touched(), globals)
}

// globalBits reads a global's value. wazero's public interface has only the low
// half of a vector, so that the high half is read through its own method Value,
// which gives both.
func globalBits(g api.Global, typ byte) (lo, hi uint64) {
	if typ != vectorType {
		return g.Get(), 0
	}
	v := reflect.New(reflect.TypeOf(g)).Elem()
	v.Set(reflect.ValueOf(g))
	field := v.FieldByName("g")
	pair := reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().MethodByName("Value").Call(nil)
	return pair[0].Uint(), pair[1].Uint()
}

// vectorType is the binary format's code of v128.
const vectorType = 0x7b
