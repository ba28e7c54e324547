// Command blobend is one end of the row blob_rss: a process with a store and a peer
// of its own that keeps a blob and serves it, or fetches it. It links what a provider
// without the chain has for that, and says what memory it took. It is started by the
// bench only, speaks lines of JSON, and ends with its input.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// word is what the bench says, and hears back with what is new.
type word struct {
	Role string      `json:"role"` // serve or fetch
	Dir  string      `json:"dir"`  // of the store
	Blob work.BlobID `json:"blob"` // serve: its size
	Peer p2p.Peer    `json:"peer"` // of the serving end
	Peak uint64      `json:"peak"` // resident bytes at most
	Sec  float64     `json:"sec"`  // the work took
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "blobend:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var w word
	if err := in.Decode(&w); err != nil {
		return err
	}
	key, err := sign.NewKey()
	if err != nil {
		return err
	}
	store, err := blob.OpenStore(w.Dir, blob.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	net, err := libp2p.New(ctx, libp2p.Config{Key: key})
	if err != nil {
		return err
	}
	defer net.Close()
	began := time.Now()
	if err := w.work(ctx, net, store); err != nil {
		return err
	}
	w.Sec = time.Since(began).Seconds()
	for {
		if w.Peak, err = peakResident(); err != nil {
			return err
		}
		if err := out.Encode(w); err != nil {
			return err
		}
		var again word
		if err := in.Decode(&again); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (w *word) work(ctx context.Context, net *libp2p.Network, store *blob.FileStore) (err error) {
	switch w.Role {
	case "serve":
		stream := io.LimitReader(rand.NewChaCha8([32]byte{'b', 'l', 'o', 'b'}), int64(w.Blob.Size))
		if w.Blob, err = store.PutReader(stream, w.Blob.Size); err != nil {
			return err
		}
		net.Handle(p2p.ProtocolBlob, blob.Server(store, blob.ServerOptions{}))
		w.Peer = net.Self()
		return nil
	case "fetch":
		f := blob.NewFetcher(net, store, blob.FetcherOptions{})
		return errors.Join(f.Fetch(ctx, w.Blob, []p2p.Peer{w.Peer}), f.Close())
	}
	return fmt.Errorf("a role is serve or fetch, not %q", w.Role)
}

// peakResident is the most memory that this process had in RAM, its program's pages
// among it.
func peakResident() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/self/status names no VmHWM")
}
