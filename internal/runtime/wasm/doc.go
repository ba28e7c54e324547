// Package wasm executes items of the gw1 profile in worker processes: the
// adapter of the runtime port that a provider, a checker and `gotong run` use.
//
// It owns the worker processes, the sandbox around them, the engine (wazero in
// compiler mode), the memory allocator, the cache of rewritten and compiled
// programs on disk, and the memory digest of a leaf.
//
// It promises that the same task gives the same leaf in every worker on every
// machine; that an end of the program (exit, trap, fuel, depth, output) is a
// result and an end of the worker (killed, out of the host's memory, too slow)
// a *runtime.HostFault; that a worker serves one program only, holds no path,
// socket or descriptor but its own pipe and the item's inputs, and dies with
// its parent; that what an item and a compilation may take is bounded (README.md:
// every limit, and what enforces it where); and that a damaged cache costs time,
// never a result.
//
// It never fetches a blob, keeps a result, or decides what a result is worth.
// Processes that use it must call MaybeWorker first thing in main.
package wasm
