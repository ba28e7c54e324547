// Command gotong is the whole of Gotong in one executable: the user's commands,
// a local network, and the sandboxed worker processes that programs run in.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/gotong-network/gotong/internal/cli"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
)

func main() {
	wasm.MaybeWorker() // workers are this executable; in one, this never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
