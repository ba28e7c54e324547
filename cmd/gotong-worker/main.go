// Command gotong-worker is a provider and nothing else: it joins a network, runs
// other people's items in sandboxed worker processes, and is paid. It has no chain
// inside: it talks to nodes of the network and verifies what they say.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/gotong-network/gotong/internal/membercmd"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
)

func main() {
	wasm.MaybeWorker() // workers are this executable; in one, this never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := membercmd.WorkerMain(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
