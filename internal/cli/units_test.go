package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{"0": 0, "1048576": 1 << 20, "512MiB": 512 << 20, "1 GiB": 1 << 30, "64MB": 64e6, "7B": 7} {
		var b byteSize
		if err := b.Set(text); err != nil || uint64(b) != want {
			t.Errorf("%q: %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "1XB", "9999999999TiB", "1e3"} {
		var b byteSize
		if err := b.Set(text); err == nil {
			t.Errorf("%q was taken as %d bytes", text, b)
		}
	}
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1 << 20: "1MiB", 3 << 19: "1.5MiB", 4 << 30: "4GiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d bytes are shown as %s, want %s", n, got, want)
		}
	}
}

func TestFuelSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{"1": 1, "50000000000": 50e9, "50e9": 50e9, "1.5e9": 1_500_000_000} {
		var f fuelSize
		if err := f.Set(text); err != nil || uint64(f) != want {
			t.Errorf("%q: %d, %v, want %d", text, f, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "1e30", "NaN", "Inf", "many"} {
		var f fuelSize
		if err := f.Set(text); err == nil {
			t.Errorf("%q was taken as %d fuel", text, f)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("a bug"), 1},
		{usagef("bad: %w", errors.New("x")), 2},
		{&runtime.Refused{Reason: "threads"}, 2},
		{work.ErrAmount, 2},
		{home.ErrNoKey, 2},
		{&exitError{code: 3}, 3},
		{ledger.ErrFunds, 4},
		{ledger.ErrUnreachable, 5},
		{p2p.ErrUnreachable, 5},
		{unanswered("the chain", context.DeadlineExceeded), 5},
		{home.ErrAbsent, 5},
		{home.ErrInUse, 6},
		{home.ErrDamaged, 6},
		{home.ErrVersion, 6},
		{context.Canceled, 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := exitCode(fmt.Errorf("while at it: %w", c.err)); got != c.want {
			t.Errorf("wrapped %v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}
