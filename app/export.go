package app

import (
	"encoding/json"
	"fmt"
)

// Export gives the state of the last block as a genesis' app_state: a chain that
// begins with it at the next height goes on where this one stood.
func (a *App) Export() ([]byte, error) {
	state, err := a.manager.ExportGenesis(a.NewContext(true), a.codec)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return json.Marshal(state) // map keys are sorted
}
