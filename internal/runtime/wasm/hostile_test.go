//go:build linux && (amd64 || arm64)

package wasm

func hostileFromEnv() func(*workerConn) { return nil }
