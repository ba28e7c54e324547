package gw1_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gotong-network/gotong/gw1"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Run a command once on wazero, with arguments and a bound of fuel, and read what it printed, how it ended and
// what it cost. This is all that an adapter does; any engine with WebAssembly 2.0 will do.
func Example() {
	ctx := context.Background()
	original, err := os.ReadFile("testdata/vectors/print.wasm")
	if err != nil {
		fmt.Println(err)
		return
	}
	module, err := gw1.Rewrite(original, gw1.Options{})
	if err != nil {
		fmt.Println(err) // a *gw1.Refusal: no run of this module will ever be accepted
		return
	}
	engine := wazero.NewRuntime(ctx)
	defer engine.Close(ctx)

	// The host's calls, for all programs of the engine; host is that of the run in progress.
	var host *gw1.Host
	calls := engine.NewHostModuleBuilder(gw1.Functions()[0].Module)
	for _, f := range gw1.Functions() {
		calls.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			errno := host.Call(f.Name, m.Memory(), stack[:len(f.Signature.Params)])
			if len(f.Signature.Results) > 0 {
				stack[0] = uint64(errno)
			}
		}), f.Signature.Params, f.Signature.Results).Export(f.Name)
	}
	if _, err := calls.Instantiate(ctx); err != nil {
		fmt.Println(err)
		return
	}

	// One run: an instance with its image and its fuel, and a world.
	instance, err := engine.InstantiateWithConfig(ctx, module.Binary, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		fmt.Println(err)
		return
	}
	instance.Memory().Write(0, module.Image)
	const limit = 1_000_000
	fuel := instance.ExportedGlobal(module.GlobalFuel).(api.MutableGlobal)
	fuel.Set(limit)
	host, err = gw1.NewHost(gw1.HostConfig{Args: []string{"program"}, OutputCap: 1 << 20, Fuel: counter{fuel}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = instance.ExportedFunction("_start").Call(ctx)

	var exit *gw1.Exit
	var stop *gw1.Stop
	switch left := int64(fuel.Get()); {
	case left < 0:
		fmt.Println("out of fuel")
		return
	case err == nil:
		fmt.Println("exited with code 0")
	case errors.As(err, &exit):
		fmt.Println("exited with code", exit.Code)
	case errors.As(err, &stop):
		fmt.Println(stop)
	case instance.ExportedGlobal(module.GlobalTrap).Get() == gw1.TrapDepth:
		fmt.Println("recursion too deep")
	default:
		fmt.Println("trap")
	}
	fmt.Printf("%s%d fuel\n", host.Stdout(), limit-fuel.Get())
	// Output:
	// exited with code 0
	// hello
	// hello
	// 1034 fuel
}

// counter lets the host charge the program's own fuel.
type counter struct{ fuel api.MutableGlobal }

func (c counter) Charge(n uint64) bool {
	left := int64(c.fuel.Get()) - int64(n)
	c.fuel.Set(uint64(left))
	return left >= 0
}

// A module that the profile cannot run is refused with the place and what to do.
func ExampleRewrite() {
	component := []byte("\x00asm\x0d\x00\x01\x00")
	_, err := gw1.Rewrite(component, gw1.Options{})
	fmt.Println(err)
	// Output: module refused by gw1/1 at byte 4: a component, not a core module: build for WASI preview 1 (wasm32-wasip1, GOOS=wasip1)
}

// What a refusal says, for a program that shows it to its user.
func ExampleRefusal() {
	_, err := gw1.Rewrite([]byte("#!/bin/sh"), gw1.Options{})
	var refusal *gw1.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Offset, refusal.Reason)
	}
	// Output: 0 not a WebAssembly module: it does not begin with \0asm
}

// Everything a program sees comes from its configuration. Here the adapter is left out: the calls that an
// engine would pass on are made by hand.
func ExampleHost() {
	host, err := gw1.NewHost(gw1.HostConfig{Args: []string{"render", "in/scene.txt"}, OutputCap: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	memory := make(slab, 64)
	errno := host.Call("args_sizes_get", memory, []uint64{0, 4})
	fmt.Println(errno, memory.u32(0), "arguments in", memory.u32(4), "bytes")
	// Output: 0 2 arguments in 20 bytes
}
