package light

import (
	"testing"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
)

// TestOldHeadersAreNotReadFrom holds that the header of an invite alone is not enough to
// answer from: what was registered since would be missing.
func TestOldHeadersAreNotReadFrom(t *testing.T) {
	t.Parallel()
	c := newChain("test-1", root{}, time.Hour, nil)
	c.trust(&cmttypes.LightBlock{SignedHeader: &cmttypes.SignedHeader{Header: &cmttypes.Header{Height: 10}}})
	select {
	case <-c.ready:
		t.Error("state is read at the header of the invite")
	default:
	}
	c.upToDate()
	select {
	case <-c.ready:
	default:
		t.Error("state is not read at the newest header")
	}
}
