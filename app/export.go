package app

import (
	"encoding/json"
	"fmt"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// Export gives the state of the last block as a genesis' app_state: a chain that
// begins with it at the next height goes on where this one stood.
func (a *App) Export() ([]byte, error) {
	ctx := a.NewUncachedContext(true, cmtproto.Header{ChainID: a.ChainID(), Height: a.LastBlockHeight()})
	state, err := a.manager.ExportGenesis(ctx, a.codec)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return json.Marshal(state) // map keys are sorted
}
