// Package gw1 is the deterministic, metered WebAssembly profile of the network, as a library of its own.
//
// It owns two things. Rewrite validates a WASI preview 1 command module and returns one that does the same
// but counts fuel, bounds its call depth and shows the same NaN bits on every engine and CPU; whatever the
// profile does not know is refused with a reason and a byte offset. Host answers the module's WASI calls
// without a clock, a network or a disk: everything a program can observe follows from its HostConfig.
//
// It promises: the same module and the same configuration give the same output, exit code, fuel and final
// memory wherever they run; rewriting takes time and memory linear in the module and never panics on any
// input; every host call is charged and bounded.
//
// To run a program: Rewrite it and compile Module.Binary with any engine that has WebAssembly 2.0; register
// Functions with it, answered by Host.Call; for each run make an instance, write Module.Image to its memory, set
// the fuel global, make a Host and call _start. The package's example is a whole adapter.
//
// It never runs code, opens files, reads a clock or starts a goroutine: an adapter brings the engine, sets
// the fuel global before the run and reads it after it. The specification is docs/spec/gw1.md; Version names
// the revision that this code implements.
package gw1

// Version names the profile. It is part of a program's identity and changes whenever fuel, results or
// refusals could change.
const Version = "gw1/1"
