package gw1_test

import (
	"fmt"

	"github.com/gotong-network/gotong/gw1"
)

// A module that the profile cannot run is refused with the place and what to do.
func ExampleRewrite() {
	component := []byte("\x00asm\x0d\x00\x01\x00")
	_, err := gw1.Rewrite(component, gw1.Options{})
	fmt.Println(err)
	// Output: module refused by gw1/1 at byte 4: a component, not a core module: build for WASI preview 1 (wasm32-wasip1, GOOS=wasip1)
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
