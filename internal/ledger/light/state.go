package light

import (
	"context"
	"fmt"

	cmttypes "github.com/cometbft/cometbft/types"
)

// state reads the stores of the application, each key with its proof.
type state struct{ chain *chain }

// readFrom reads a key from a node in the state that a trusted header proves, which
// is that of the height before. A missing key is nil.
func (s *state) readFrom(ctx context.Context, n *node, at *cmttypes.Header, store string, key []byte) ([]byte, error) {
	height := at.Height - 1
	r, err := n.query(ctx, "/store/"+store+"/key", key, height, true)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 || r.ProofOps == nil {
		return nil, fmt.Errorf("no proof of store %s at height %d: %.200s", store, height, r.Log)
	}
	// That answer may be about whatever key and height it likes: only what was asked
	// for is checked.
	value := r.Value
	if len(value) == 0 {
		value = nil // no record is empty
	}
	if err := checkProof(at.AppHash, store, key, value, r.ProofOps); err != nil {
		return nil, lied("state of height %d: %w", height, err)
	}
	return value, nil
}

// view is the state at one height.
type view struct {
	state *state
	at    *cmttypes.Header
}

// get reads a key from whoever proves it.
func (v view) get(ctx context.Context, store string, key []byte) (value []byte, err error) {
	err = v.state.chain.pool.try(ctx, func(ctx context.Context, n *node) (err error) {
		value, err = v.state.readFrom(ctx, n, v.at, store, key)
		return err
	})
	return value, err
}
