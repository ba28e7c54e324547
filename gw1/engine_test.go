package gw1_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// result is everything that a run can be compared by.
type result struct {
	outcome string // "exit N", "trap", "fuel", "depth", "output"
	fuel    int64  // left
	stdout  string
	stderr  string
	files   []gw1.OutFile
	memory  []byte
	globals []uint64
}

// fuelGlobal charges the fuel global of a running module.
type fuelGlobal struct{ g api.MutableGlobal }

func (f fuelGlobal) Charge(n uint64) bool {
	left := int64(f.g.Get())
	f.g.Set(uint64(left - int64(n)))
	return left >= int64(n)
}

// engine runs modules of the profile on wazero, as its compiler or its interpreter.
type engine struct{ runtime wazero.Runtime }

// call is the world of the run in progress.
type call struct {
	host *gw1.Host
}

type callKey struct{}

func newEngine(t testing.TB, c wazero.RuntimeConfig) *engine {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, c)
	t.Cleanup(func() { r.Close(ctx) })
	b := r.NewHostModuleBuilder(gw1.Functions()[0].Module)
	for _, f := range gw1.Functions() {
		results := len(f.Signature.Results)
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			c := ctx.Value(callKey{}).(*call)
			errno := c.host.Call(f.Name, m.Memory(), stack[:len(f.Signature.Params)])
			if results > 0 {
				stack[0] = uint64(errno)
			}
		}), valueTypes(f.Signature.Params), valueTypes(f.Signature.Results)).Export(f.Name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	return &engine{r}
}

func valueTypes(codes []byte) []api.ValueType { return codes }

func compiler(t testing.TB) *engine    { return newEngine(t, wazero.NewRuntimeConfigCompiler()) }
func interpreter(t testing.TB) *engine { return newEngine(t, wazero.NewRuntimeConfigInterpreter()) }

// program is a rewritten and compiled module.
type program struct {
	engine   *engine
	module   *gw1.Module
	compiled wazero.CompiledModule
}

func (e *engine) program(t testing.TB, m *gw1.Module) *program {
	t.Helper()
	c, err := e.runtime.CompileModule(context.Background(), m.Binary)
	if err != nil {
		t.Fatalf("engine refuses the rewritten module: %v", err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return &program{e, m, c}
}

func (e *engine) load(t testing.TB, wasm []byte, o gw1.Options) *program {
	t.Helper()
	m, err := gw1.Rewrite(wasm, o)
	if err != nil {
		t.Fatal(err)
	}
	checkSecondWalk(t, wasm, o, m)
	return e.program(t, m)
}

// checkSecondWalk checks that a module whose code is emitted in a second walk is the same module.
func checkSecondWalk(t testing.TB, wasm []byte, o gw1.Options, first *gw1.Module) {
	t.Helper()
	if second, err := gw1.RewriteTwice(wasm, o); err != nil || !reflect.DeepEqual(first, second) {
		t.Fatalf("a second walk makes another module: %v", err)
	}
}

const plenty = 1 << 50

func (p *program) run(t testing.TB, fuel int64, c gw1.HostConfig) result {
	t.Helper()
	ctx := context.WithValue(context.Background(), callKey{}, &call{})
	m, err := p.engine.runtime.InstantiateModule(ctx, p.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(ctx)
	if p.module.Image != nil && !m.Memory().Write(0, p.module.Image) {
		t.Fatal("the image does not fit")
	}
	if p.module.GlobalFuel != "" {
		g := m.ExportedGlobal(p.module.GlobalFuel).(api.MutableGlobal)
		g.Set(uint64(fuel))
		c.Fuel = fuelGlobal{g}
	}
	h, err := gw1.NewHost(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx.Value(callKey{}).(*call).host = h
	_, err = m.ExportedFunction("_start").Call(ctx)
	res := result{outcome: p.outcome(m, err), stdout: string(h.Stdout()), stderr: string(h.Stderr()), files: h.OutputFiles()}
	if p.module.GlobalFuel != "" {
		res.fuel = int64(m.ExportedGlobal(p.module.GlobalFuel).Get())
	}
	if m.Memory() != nil {
		view, _ := m.Memory().Read(0, m.Memory().Size())
		res.memory = append([]byte(nil), view...)
	}
	for _, g := range p.module.MutableGlobals {
		res.globals = append(res.globals, m.ExportedGlobal(g.Name).Get())
		if g.Type == v128 {
			res.globals = append(res.globals, highHalf(m.ExportedGlobal(g.Name)))
		}
	}
	if p.module.GlobalFuel != "" && res.fuel < 0 { // noticed late or not at all
		res.outcome, res.fuel = "fuel", 0
	}
	return res
}

// highHalf reads the half of a vector that the engine's interface does not give.
func highHalf(g api.Global) uint64 {
	v := reflect.New(reflect.TypeOf(g)).Elem()
	v.Set(reflect.ValueOf(g))
	inner := v.FieldByName("g")
	return reflect.NewAt(inner.Type(), inner.Addr().UnsafePointer()).Elem().MethodByName("Value").Call(nil)[1].Uint()
}

func (p *program) outcome(m api.Module, err error) string {
	var exit *gw1.Exit
	var stop *gw1.Stop
	switch {
	case err == nil:
		return "exit 0"
	case errors.As(err, &exit):
		return fmt.Sprintf("exit %d", exit.Code)
	case errors.As(err, &stop):
		return map[gw1.StopReason]string{gw1.StopFuel: "fuel", gw1.StopOutput: "output", gw1.StopHost: "host"}[stop.Reason]
	}
	switch m.ExportedGlobal(p.module.GlobalTrap).Get() {
	case gw1.TrapFuel:
		return "fuel"
	case gw1.TrapDepth:
		return "depth"
	}
	return "trap"
}

// world is a configuration with room for output.
func world() gw1.HostConfig { return gw1.HostConfig{OutputCap: math.MaxInt32} }

// testContext is for calls that no test cancels.
var testContext = context.Background()

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
