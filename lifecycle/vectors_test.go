package lifecycle

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

var update = flag.Bool("update", false, "rewrite the test vectors in docs/spec/canonical.md")

// TestVectors holds the published vectors of commitments and draws.
func TestVectors(t *testing.T) {
	t.Parallel()
	leaves := []work.Leaf{{Input: work.Hash{1}, Output: work.Hash{2}, Outcome: work.Outcome{Kind: work.Trapped}, Fuel: 3, Memory: work.Hash{4}}}
	batch, job := work.Hash{0xb}, work.Hash{0xa}
	release := sign.FromSeed([32]byte{42}).Sign(ReleaseTag, ReleaseMessage("gotong-1", job))
	draws := drawPoints(&Batch{ID: batch, N: 10, Root: work.Node{Fuel: 1_000_000}}, work.Hash{0xd}, 2)
	var b strings.Builder
	for _, v := range []struct {
		name  string
		bytes []byte
	}{
		{"check.commitment", hashBytes(CheckCommitment("gotong-1", batch, "gotong1checker", leaves, work.Hash{5}))},
		{"vote.commitment", hashBytes(VoteCommitment("gotong-1", batch, "gotong1validator", leaves, work.Hash{5}))},
		{"release.message", ReleaseMessage("gotong-1", job)},
		{"release.signature", release[:]},
	} {
		fmt.Fprintf(&b, "%-18s %s\n", v.name, hex.EncodeToString(v.bytes))
	}
	for k, d := range draws {
		fmt.Fprintf(&b, "draw.%d.of.1000000  %d\n", k, d.Point)
	}
	checkVectors(t, b.String())
}

func hashBytes(h work.Hash) []byte { return h[:] }

func checkVectors(t *testing.T, got string) {
	t.Helper()
	const spec, mark = "../docs/spec/canonical.md", "<!-- vectors:lifecycle -->\n```\n"
	text, err := os.ReadFile(spec)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), mark)
	want, tail, ok2 := strings.Cut(rest, "```\n")
	if !ok1 || !ok2 {
		t.Fatalf("%s has no block of vectors for lifecycle", spec)
	}
	if want == got {
		return
	}
	if !*update {
		t.Fatalf("commitments or draws differ from %s; got\n%s", spec, got)
	}
	if err := os.WriteFile(spec, []byte(head+mark+got+"```\n"+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
