//go:build !cgo

package wasm

// builtWithCgo: threads of C would be outside of what the sandbox confines.
const builtWithCgo = false
