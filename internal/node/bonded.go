package node

import (
	"context"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
)

// How often the ledger is asked who is bonded: regularly, and sooner when somebody
// unknown asks.
const (
	bondedLife  = time.Minute
	bondedPause = 2 * time.Second
	bondedTime  = 15 * time.Second // of one question
)

// bonded knows the peer keys with a stake in the chain: parties with a bond, and
// indexers of open jobs. A relay serves them only, so that what it gives away costs
// something to ask for.
type bonded struct {
	ledger ledger.Reader
	ask    chan struct{} // somebody unknown asked

	mu   sync.Mutex // guards keys
	keys map[sign.PublicKey]bool
}

func newBonded(l ledger.Reader) *bonded {
	return &bonded{ledger: l, ask: make(chan struct{}, 1), keys: map[sign.PublicKey]bool{}}
}

// has answers at once from what is known.
func (b *bonded) has(k sign.PublicKey) bool {
	b.mu.Lock()
	ok := b.keys[k]
	b.mu.Unlock()
	if !ok {
		select {
		case b.ask <- struct{}{}:
		default:
		}
	}
	return ok
}

// run keeps the keys until ctx ends. A ledger that cannot be asked leaves them as
// they are.
func (b *bonded) run(ctx context.Context) error {
	regular := time.NewTicker(bondedLife)
	defer regular.Stop()
	for {
		if keys, err := b.read(ctx); err == nil {
			b.mu.Lock()
			b.keys = keys
			b.mu.Unlock()
		}
		select { // not again at once, whoever asks
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(bondedPause):
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-regular.C:
		case <-b.ask:
		}
	}
}

func (b *bonded) read(ctx context.Context) (map[sign.PublicKey]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bondedTime)
	defer cancel()
	keys := map[sign.PublicKey]bool{}
	for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker, lifecycle.RoleIndexer} {
		parties, err := b.ledger.Parties(ctx, role)
		if err != nil {
			return nil, err
		}
		for _, p := range parties {
			if p.Bond > 0 {
				keys[p.Peer] = true
			}
		}
	}
	jobs, err := b.ledger.Jobs(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if j.State != lifecycle.JobClosed {
			keys[j.Indexer().Key] = true
		}
	}
	return keys, nil
}
