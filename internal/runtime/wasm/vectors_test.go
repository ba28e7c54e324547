//go:build linux && (amd64 || arm64)

package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// The product's engine gives for every test vector of gw1 the outcome, fuel and memory digest that
// gw1/testdata/vectors/vectors.txt says.
func TestVectorsOfTheProfile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "..", "gw1", "testdata", "vectors")
	list, err := os.ReadFile(filepath.Join(dir, "vectors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[work.OutcomeKind]string{work.Trapped: "trap", work.OutOfFuel: "fuel", work.OutOfDepth: "depth", work.OutputCapped: "output"}
	n := 0
	for line := range strings.Lines(string(list)) {
		fields := strings.Split(strings.TrimSpace(line), ", ")
		if strings.HasPrefix(line, "#") || len(fields) != 5 {
			continue
		}
		module, err := os.ReadFile(filepath.Join(dir, fields[0]+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := testEngine(t, module).run(&request{began: true, fuel: 10_000_000, memory: 64 << 20, output: 1 << 20, args: []string{programName}}, nil)
		if err != nil {
			t.Errorf("%s: %v", fields[0], err)
			continue
		}
		outcome := outcomes[resp.outcome.Kind]
		if resp.outcome.Kind == work.Exited {
			outcome = fmt.Sprintf("exit %d", resp.outcome.Code)
		}
		if got := fmt.Sprintf("%s, %d, %s", outcome, resp.fuel, resp.memory); got != strings.Join([]string{fields[1], fields[2], fields[4]}, ", ") {
			t.Errorf("%s: %s, want %v", fields[0], got, fields[1:])
		}
		n++
	}
	if n < 30 {
		t.Errorf("only %d vectors", n)
	}
}
