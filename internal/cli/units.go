package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gotong-network/gotong/work"
)

var byteUnits = []struct {
	suffix string
	bytes  uint64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// byteSize is a flag of bytes: 512MiB, 64MB, 1048576.
type byteSize uint64

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	n, unit := strings.TrimSpace(s), uint64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(n, u.suffix); ok {
			n, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	v, err := strconv.ParseUint(n, 10, 64)
	if err != nil || v > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a number of bytes: write 512MiB or 536870912", s)
	}
	*b = byteSize(v * unit)
	return nil
}

// String implements pflag.Value.
func (b *byteSize) String() string { return formatBytes(uint64(*b)) }

// Type implements pflag.Value.
func (*byteSize) Type() string { return "BYTES" }

// formatBytes gives a size for people.
func formatBytes(n uint64) string {
	for i := 3; i >= 0; i-- {
		if u := byteUnits[i]; n >= u.bytes {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 1, 64), ".0") + u.suffix
		}
	}
	return strconv.FormatUint(n, 10) + "B"
}

// fuelSize is a flag of fuel: 1000000000, 50e9.
type fuelSize work.Fuel

// Set implements pflag.Value.
func (f *fuelSize) Set(s string) error {
	if v, err := strconv.ParseUint(s, 10, 63); err == nil {
		*f = fuelSize(v)
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 0 || v >= math.MaxInt64 || v != math.Trunc(v) {
		return fmt.Errorf("%q is not an amount of fuel: write 50000000000 or 50e9 (1e9 is one work unit)", s)
	}
	*f = fuelSize(v)
	return nil
}

// String implements pflag.Value.
func (f *fuelSize) String() string { return formatFuel(work.Fuel(*f)) }

// Type implements pflag.Value.
func (*fuelSize) Type() string { return "FUEL" }

// formatFuel gives fuel for people, in powers of a thousand.
func formatFuel(f work.Fuel) string {
	for _, u := range []struct {
		from work.Fuel
		name string
	}{{1e12, "e12"}, {1e9, "e9"}, {1e6, "e6"}} {
		if f >= u.from {
			return strings.TrimSuffix(strconv.FormatFloat(float64(f)/float64(u.from), 'f', 2, 64), ".00") + u.name
		}
	}
	return strconv.FormatUint(uint64(f), 10)
}
