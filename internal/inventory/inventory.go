// Package inventory reads what a machine has: processor, memory, disk and
// graphics processors, from the files in which Linux shows them.
//
// It promises names as the driver gives them, or unknown:VENDOR:DEVICE of the PCI
// id where no driver does; what cannot be read is left zero, never guessed; and no
// other program is run. Every reader takes the root of the file system, so that
// recorded machines are read like this one. Inside a container the group's bounds
// of memory and processors count.
//
// It never measures, and never says that something works: what is listed here is
// a claim, and results are checked whatever made them.
package inventory

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gotong-network/gotong/internal/disk"
	"github.com/gotong-network/gotong/work"
)

// maxFileBytes bounds a file that is read: cpuinfo of a thousand threads is less.
const maxFileBytes = 4 << 20

// Read gives the hardware of the machine whose file system is at root, "/" for
// this one. dir is where work is kept: its disk's free bytes are told; empty: they
// are not.
func Read(root, dir string) work.Hardware {
	r := reader{root}
	h := work.Hardware{Arch: runtime.GOARCH}
	r.processor(&h)
	h.MemoryBytes = r.memory()
	h.GPUs = r.gpus()
	if h.Threads == 0 && root == "/" { // no Linux: the runtime knows this much
		h.Threads = uint32(runtime.NumCPU())
	}
	if n := r.quota(); n > 0 {
		h.Threads = min(h.Threads, n)
	}
	h.Cores = min(h.Cores, h.Threads)
	if h.Cores == 0 {
		h.Cores = h.Threads
	}
	if dir != "" {
		if free, _, err := disk.Space(dir); err == nil {
			h.DiskBytes = free
		}
	}
	return h
}

// reader reads below a root.
type reader struct{ root string }

// bytes reads a file; nil if there is none.
func (r reader) bytes(parts ...string) []byte {
	f, err := os.Open(filepath.Join(append([]string{r.root}, parts...)...))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxFileBytes)) // what was read counts: sysfs files fail at will
	return b
}

// text reads a file of one value.
func (r reader) text(parts ...string) string { return clean(string(r.bytes(parts...))) }

// number reads a file of one number; 0 if there is none.
func (r reader) number(parts ...string) uint64 {
	n, _ := strconv.ParseUint(r.text(parts...), 0, 64) // what is no number is no figure
	return n
}

// names are the entries of a folder, sorted.
func (r reader) names(parts ...string) []string {
	es, err := os.ReadDir(filepath.Join(append([]string{r.root}, parts...)...))
	if err != nil {
		return nil
	}
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = e.Name()
	}
	slices.Sort(out)
	return out
}

// processor reads model, cores, threads and features.
func (r reader) processor(h *work.Hardware) {
	cores := map[[2]string]bool{}
	var flags, features []string
	var pkg string
	for _, kv := range fields(r.bytes("proc", "cpuinfo")) {
		switch kv[0] {
		case "processor":
			h.Threads++
		case "model name":
			h.CPU = or(h.CPU, kv[1])
		case "physical id":
			pkg = kv[1]
		case "core id":
			cores[[2]string{pkg, kv[1]}] = true
		case "flags":
			flags = strings.Fields(kv[1])
		case "Features":
			features = strings.Fields(kv[1])
		}
	}
	if len(cores) == 0 {
		cores = r.topology()
	}
	h.Cores = uint32(len(cores))
	switch {
	case flags != nil:
		h.Arch, h.ISA = "amd64", x86(flags)
	case features != nil:
		h.Arch, h.ISA = "arm64", arm(features)
	}
	// Boards name themselves in the device tree, not in cpuinfo.
	h.CPU = clip(or(h.CPU, r.text("proc", "device-tree", "model"), r.text("sys", "firmware", "devicetree", "base", "model")))
}

// topology finds the cores where cpuinfo does not tell.
func (r reader) topology() map[[2]string]bool {
	out := map[[2]string]bool{}
	for _, n := range r.names("sys", "devices", "system", "cpu") {
		if id, ok := strings.CutPrefix(n, "cpu"); ok && isNumber(id) {
			if core := r.text("sys", "devices", "system", "cpu", n, "topology", "core_id"); core != "" {
				out[[2]string{r.text("sys", "devices", "system", "cpu", n, "topology", "physical_package_id"), core}] = true
			}
		}
	}
	return out
}

// The flags that each level of x86-64 adds, as Linux names them; sse3 is "pni"
// and lzcnt is "abm" there.
var x86Levels = []struct {
	name  string
	flags []string
}{
	{"x86-64-v1", []string{"cmov", "cx8", "fpu", "fxsr", "mmx", "syscall", "sse", "sse2"}},
	{"x86-64-v2", []string{"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}},
	{"x86-64-v3", []string{"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}},
	{"x86-64-v4", []string{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
}

// x86 names the level and what matters beside it.
func x86(flags []string) []string {
	have := func(f string) bool { return slices.Contains(flags, f) }
	level := ""
	for _, l := range x86Levels {
		if slices.ContainsFunc(l.flags, func(f string) bool { return !have(f) }) {
			break
		}
		level = l.name
	}
	var out []string
	if level != "" {
		out = append(out, level)
	}
	for _, f := range []string{"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "aes", "sha_ni"} {
		if have(f) {
			out = append(out, f)
		}
	}
	return out
}

// arm names the features that matter; neon is "asimd" there.
func arm(features []string) []string {
	var out []string
	for _, f := range [][2]string{{"asimd", "neon"}, {"atomics", "lse"}, {"asimddp", "dotprod"}, {"aes", "aes"}, {"sha2", "sha2"},
		{"sve", "sve"}, {"sve2", "sve2"}, {"i8mm", "i8mm"}, {"bf16", "bf16"}} {
		if slices.Contains(features, f[0]) {
			out = append(out, f[1])
		}
	}
	return out
}

// memory is the machine's memory in bytes, or the group's bound if that is less.
func (r reader) memory() uint64 {
	var total uint64
	for _, kv := range fields(r.bytes("proc", "meminfo")) {
		if kv[0] == "MemTotal" {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(kv[1], " kB"), 10, 54)
			total = kib << 10
		}
	}
	for _, file := range [][]string{{"sys", "fs", "cgroup", "memory.max"}, {"sys", "fs", "cgroup", "memory", "memory.limit_in_bytes"}} {
		if n := r.number(file...); n > 0 {
			total = min(total, n)
		}
	}
	return total
}

// quota is how many processors the group may use, rounded up; 0: all.
func (r reader) quota() uint32 {
	var quota, period float64
	if f := strings.Fields(r.text("sys", "fs", "cgroup", "cpu.max")); len(f) == 2 {
		quota, _ = strconv.ParseFloat(f[0], 64) // "max" is no quota
		period, _ = strconv.ParseFloat(f[1], 64)
	} else {
		quota, _ = strconv.ParseFloat(r.text("sys", "fs", "cgroup", "cpu", "cpu.cfs_quota_us"), 64)
		period = float64(r.number("sys", "fs", "cgroup", "cpu", "cpu.cfs_period_us"))
	}
	if quota <= 0 || period <= 0 {
		return 0
	}
	return uint32(min(math.Ceil(quota/period), 1<<16))
}

// fields reads lines of "name : value"; blank ones are left out.
func fields(b []byte) [][2]string {
	var out [][2]string
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 64<<10)
	for sc.Scan() {
		if name, value, ok := strings.Cut(sc.Text(), ":"); ok {
			out = append(out, [2]string{strings.TrimSpace(name), clean(value)})
		}
	}
	return out
}

// clean makes one line of printable text.
func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// clip keeps a name within what an offer holds.
func clip(s string) string {
	for len(s) > work.MaxHardwareText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

func or(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func isNumber(s string) bool { _, err := strconv.ParseUint(s, 10, 32); return err == nil }
