package membercmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/provider"
)

// TestShowStatus shows what a limit of nothing means, and a state whose reason is the
// state itself only once.
func TestShowStatus(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	e := &Env{Out: &out}
	if err := e.showStatus(member.Status{
		Provider: &provider.Status{State: provider.Drained, Why: "drained"},
		Limits:   &limits.Status{CPULimitPercent: 100, Bound: "cgroup v2"},
		Indexer:  &member.IndexerStatus{FeePermille: 25, Hear: []string{"DE", "FR"}, Providers: 3, Connected: 2, Jobs: 1},
	}); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"provider drained in hand", "memory unlimited; disk limit not known, used 0 MiB",
		"indexer asks 25 thousandths of a job's pay, on top of it; hears providers in DE, FR knows 3 provider(s), 2 of them connected; serves 1 job(s)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// TestIndexerFlags refuses what no job could pay, and no country.
func TestIndexerFlags(t *testing.T) {
	t.Parallel()
	for _, o := range []joinOptions{{index: indexerFlags{fee: 1001}}, {index: indexerFlags{hear: []string{"Mars"}}}} {
		if _, _, err := o.parse(&Env{Roles: []string{"indexer"}}); err == nil {
			t.Errorf("%+v is taken", o.index)
		}
	}
	_, s, err := joinOptions{index: indexerFlags{fee: 25, hear: []string{"DE"}}}.parse(&Env{Roles: []string{"indexer"}})
	if err != nil || s.FeePermille != 25 || len(s.Hear) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
