package light

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cometbft/cometbft/light"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
)

// store keeps the newest trusted header in a file.
type store struct{ dir string }

// saved is the file.
type saved struct {
	Chain string `json:"chain"`
	Block []byte `json:"block"` // protobuf of a light block
}

func (s store) file() string { return filepath.Join(s.dir, "light.json") }

// load lets a chain begin with the kept header, if it is of this chain, newer than the
// root and young enough to vouch for others.
func (s store) load(c *chain) error {
	if s.dir == "" {
		return nil
	}
	b, err := os.ReadFile(s.file())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trusted header: %w", err)
	}
	block, chain, err := decodeSaved(b)
	if err != nil {
		return fmt.Errorf("trusted header %s is damaged (remove it to begin with the invite again): %w", s.file(), err)
	}
	if chain != c.id || block.ValidateBasic(c.id) != nil {
		return fmt.Errorf("trusted header %s is of chain %q, not of %s: this is another network's home", s.file(), chain, c.id)
	}
	if block.Height <= c.root.Height || light.HeaderExpired(block.SignedHeader, c.period, c.now()) {
		return nil
	}
	c.sets = append(c.sets, block.ValidatorSet)
	c.trust(block)
	return nil
}

func decodeSaved(b []byte) (*cmttypes.LightBlock, string, error) {
	var v saved
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, "", err
	}
	var pb cmtproto.LightBlock
	if err := pb.Unmarshal(v.Block); err != nil {
		return nil, "", err
	}
	block, err := cmttypes.LightBlockFromProto(&pb)
	if err != nil {
		return nil, "", err
	}
	if block.SignedHeader == nil || block.ValidatorSet == nil {
		return nil, "", errors.New("half a header")
	}
	return block, v.Chain, nil
}

// save writes the newest trusted header, whole or not at all.
func (s store) save(c *chain) error {
	newest := c.newest()
	if s.dir == "" || newest == nil {
		return nil
	}
	pb, err := newest.ToProto()
	if err != nil {
		return fmt.Errorf("trusted header: %w", err)
	}
	v := saved{Chain: c.id}
	if v.Block, err = pb.Marshal(); err != nil {
		return fmt.Errorf("trusted header: %w", err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("trusted header: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("trusted header: %w", err)
	}
	f, err := os.CreateTemp(s.dir, ".light-*")
	if err != nil {
		return fmt.Errorf("trusted header: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.file())
	}
	if err != nil {
		return fmt.Errorf("trusted header: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
