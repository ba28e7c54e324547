package gw1

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// number writes an integer as the specification does: 1,048,576.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func specification(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/spec/gw1.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The numbers in the specification are those of the code, and its table of calls has every call with its
// parameters and no other.
func TestSpecification(t *testing.T) {
	t.Parallel()
	spec := specification(t)
	n := number
	for _, want := range []string{
		"Version `" + Version + "`",
		fmt.Sprintf("| module | %d MiB |", MaxModuleBytes>>20),
		fmt.Sprintf("| types; globals; exports | %s each |", n(MaxTypes)),
		fmt.Sprintf("| functions, imported ones included | %s |", n(MaxFunctions)),
		fmt.Sprintf("| data segments; element segments | %s each |", n(MaxSegments)),
		fmt.Sprintf("| parameters of a function; of a block; results | %d; %d; %d |", MaxParams, MaxResults, MaxResults),
		fmt.Sprintf("| %d MiB; %s (the body is one); %s |", MaxBodyBytes>>20, n(MaxNesting), n(MaxOperands)),
		fmt.Sprintf("| %s; %s |", n(MaxLocals), n(MaxTotalLocals)),
		fmt.Sprintf("| %d; %s; %s |", MaxTables, n(MaxTableElements), n(MaxTableElements)),
		fmt.Sprintf("| memory | %s pages of %d KiB |", n(MaxMemoryBytes/pageBytes), pageBytes>>10),
		fmt.Sprintf("reachable or not | %s together |", n(MaxGrows)),
		fmt.Sprintf("becomes min(declared, %s)", n(MaxTableElements)),
		fmt.Sprintf("lies below %d MiB", MaxImageBytes>>20),
		fmt.Sprintf("| `gw1.depth` | i32 | %s |", n(DepthSlots)),
		fmt.Sprintf("%d: out of fuel, %d: out of depth, %d: any other trap", TrapFuel, TrapDepth, TrapProgram),
		fmt.Sprintf("⌊n / %d⌋", BulkBytesPerFuel),
		fmt.Sprintf("| `memory.grow` by n pages | %s n,", n(FuelPerGrownPage)),
		fmt.Sprintf("`table.init` | %d, and by length", fuelBulk),
		fmt.Sprintf("| item | %s |", n(FuelPerItem)),
		fmt.Sprintf("input files | %d |", FuelPerInputByte),
		fmt.Sprintf("output files | %d |", FuelPerOutputByte),
		fmt.Sprintf("memory digested | %s |", n(FuelPerDigestedBlock)),
		fmt.Sprintf("`gw1.depth`: %d + locals", depthFrame),
		fmt.Sprintf("the scratch cap (%d MiB), the file cap (%s)", DefaultScratchCap>>20, n(DefaultMaxFiles)),
		fmt.Sprintf("at most %d MiB together", MaxArgumentBytes>>20),
		fmt.Sprintf("at most %s input files", n(MaxInputFiles)),
		fmt.Sprintf("lowest free number below %s", n(MaxOpenFiles)),
		fmt.Sprintf("More than %s bytes: ENAMETOOLONG", n(maxPathBytes)),
		fmt.Sprintf("over %d bytes ENAMETOOLONG", maxNameBytes),
		fmt.Sprintf("%s fuel are charged. The descriptor", n(FuelPerPathCall)),
		fmt.Sprintf("Every call first costs %d,", FuelPerHostCall),
		fmt.Sprintf("pieces of at most %s bytes", n(chunkBytes)),
		fmt.Sprintf("⌈k / %d⌉ fuel", HostBytesPerFuel),
		fmt.Sprintf("n over %s is EINVAL", n(maxVectors)),
		fmt.Sprintf("n 0 or over %s EINVAL; %d n fuel", n(maxSubscriptions), FuelPerDirEntry),
		fmt.Sprintf("%d fuel for each name", FuelPerDirEntry),
		fmt.Sprintf("%d fuel for each file and directory", FuelPerDirEntry),
		fmt.Sprintf("realtime begins at %s s", n(clockEpoch/1e9)),
		fmt.Sprintf("first advances all by %s ns", n(clockStep)),
	} {
		if !strings.Contains(spec, want) {
			t.Errorf("the specification lacks %q", want)
		}
	}
	for name, errno := range map[string]int{"EBADF": errnoBadf, "EEXIST": errnoExist, "EFAULT": errnoFault, "EFBIG": errnoFbig, "EILSEQ": errnoIlseq,
		"EINVAL": errnoInval, "EISDIR": errnoIsdir, "EMFILE": errnoMfile, "ENAMETOOLONG": errnoNametoolong, "ENOENT": errnoNoent, "ENOSPC": errnoNospc,
		"ENOTDIR": errnoNotdir, "ENOTEMPTY": errnoNotempty, "ENOTSUP": errnoNotsup, "EROFS": errnoRofs, "ESPIPE": errnoSpipe, "ENOTCAPABLE": errnoNotcapable} {
		if !regexp.MustCompile(name + ` ` + strconv.Itoa(errno) + `[,.]`).MatchString(spec) {
			t.Errorf("the specification does not say %s %d", name, errno)
		}
	}
	checkCallTable(t, spec)
}

func checkCallTable(t *testing.T, spec string) {
	t.Helper()
	table := spec[strings.Index(spec, "| call | parameters |"):]
	table = table[:strings.Index(table, "\n\n")]
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ?(?:`(\\w*)`)?([^|]*)\\|").FindAllStringSubmatch(table, -1) {
		name, letters, meaning := m[1], m[2], strings.TrimSpace(m[3])
		names = append(names, name)
		params := ""
		for _, p := range signatures[name].Params {
			params += map[byte]string{typeI32: "i", typeI64: "l"}[p]
		}
		if params != letters {
			t.Errorf("%s has the parameters %s in the specification, %s in the code", name, letters, params)
		}
		if meaning != "" && strings.Count(meaning, ",")+1 != len(letters) {
			t.Errorf("%s: the specification names %q for %d parameters", name, meaning, len(letters))
		}
	}
	var have []string
	for name := range calls {
		have = append(have, name)
	}
	slices.Sort(have)
	slices.Sort(names)
	if !slices.Equal(names, have) {
		t.Errorf("the specification's table has the calls %v, the code has %v", names, have)
	}
	for _, f := range Functions() {
		if calls[f.Name] == nil {
			t.Errorf("%s has a signature and no implementation", f.Name)
		}
	}
}

// The fuel of every operation is what the specification's list of exceptions leaves: 1 or what it says.
func TestOperationFuel(t *testing.T) {
	t.Parallel()
	expensive := map[string]map[int]uint8{"plain": {}, "simd": {}}
	for _, c := range []int{0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82} { // div_s, div_u, rem_s, rem_u of i32, i64
		expensive["plain"][c] = 8
	}
	for _, c := range []int{0x91, 0x95, 0x9f, 0xa3} { // sqrt, div of f32, f64
		expensive["plain"][c] = 6
	}
	for _, c := range []int{0xe3, 0xe7, 0xef, 0xf3} { // sqrt, div of f32x4, f64x2
		expensive["simd"][c] = 8
	}
	expensive["simd"][0xd5] = 4 // i64x2.mul
	for name, table := range map[string][]operation{"plain": plainOps[:], "simd": simdOps[:], "sat": satOps[:]} {
		for code, op := range table {
			want := uint8(1)
			if fuel, ok := expensive[name][code]; ok {
				want = fuel
			}
			if op.known && op.fuel != want {
				t.Errorf("%s operation %#x costs %d, want %d", name, code, op.fuel, want)
			}
		}
	}
}
