package inventory

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// The recorded machines are hand-written after the kernel's and the drivers'
// documentation; none was copied from a device.
func TestRecordedMachines(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for tree, want := range map[string]work.Hardware{
		"nvidia-server": {CPU: "AMD EPYC 9354 32-Core Processor", Arch: "amd64", Cores: 8, Threads: 16, MemoryBytes: 792341620 << 10,
			ISA: []string{"x86-64-v4", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "aes", "sha_ni"},
			GPUs: []work.GPU{{Name: "NVIDIA H100 PCIe", Driver: "nvidia 570.86.15"}, {Name: "NVIDIA H100 PCIe", Driver: "nvidia 570.86.15"},
				{Name: "unknown:1a03:2000"}}}, // the management controller draws a console: no driver that computes
		"amd-desktop": {CPU: "AMD Ryzen 9 7950X 16-Core Processor", Arch: "amd64", Cores: 4, Threads: 8, MemoryBytes: 65536000 << 10,
			ISA: []string{"x86-64-v4", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "aes", "sha_ni"},
			GPUs: []work.GPU{{Name: "AMD Radeon RX 7900 XTX", MemoryBytes: 25753026560, Driver: "amdgpu"},
				{Name: "unknown:10de:2684"}, // no driver is loaded
				{Name: "unknown:1002:164e", MemoryBytes: gib / 2, Driver: "amdgpu"}}},
		"intel-laptop": {CPU: "12th Gen Intel(R) Core(TM) i5-1235U", Arch: "amd64", Cores: 2, Threads: 4, MemoryBytes: 16108904 << 10,
			ISA: []string{"x86-64-v3", "avx2", "aes"}, GPUs: []work.GPU{{Name: "unknown:8086:46a8", Driver: "i915"}}},
		"no-gpu": {CPU: "Intel(R) Xeon(R) CPU E5-2680 v2 @ 2.80GHz", Arch: "amd64", Cores: 4, Threads: 8, MemoryBytes: 131912456 << 10,
			ISA: []string{"x86-64-v2", "aes"}},
		"vm": {CPU: "Intel Xeon Processor (Cascadelake)", Arch: "amd64", Cores: 2, Threads: 2, MemoryBytes: 4 * gib, // by its groups
			ISA: []string{"x86-64-v2", "aes"}, GPUs: []work.GPU{{Name: "unknown:1234:1111"}}},
		"container-v1": {CPU: "Intel Xeon Processor (Cascadelake)", Arch: "amd64", Cores: 2, Threads: 2, MemoryBytes: 8148264 << 10,
			ISA: []string{"x86-64-v2", "aes"}},
		"arm64-board": {CPU: "Raspberry Pi 5 Model B Rev 1.0", Arch: "arm64", Cores: 4, Threads: 4, MemoryBytes: 8256560 << 10,
			ISA: []string{"neon", "lse", "dotprod", "aes", "sha2"}, GPUs: []work.GPU{{Name: "brcm,2712-v3d", Driver: "v3d"}}},
	} {
		if got := Read(filepath.Join("testdata", tree), ""); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tree, got, want)
		}
	}
}

// Whatever the files hold, the result fits into an offer.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	h := Read(filepath.Join("testdata", "broken"), "")
	if strings.ContainsRune(h.CPU, 0x1b) || len(h.CPU) > work.MaxHardwareText || h.MemoryBytes != 0 || h.Threads != 1 {
		t.Errorf("got %+v", h)
	}
	if len(h.GPUs) != work.MaxGPUs || h.GPUs[0].Name != "unknown:10de:0000" {
		t.Errorf("GPUs %+v", h.GPUs)
	}
	o := work.Offer{Chain: "c", Provider: "p", Hardware: h}
	if got, err := work.DecodeOffer(o.Encode()); err != nil || !reflect.DeepEqual(got.Hardware, h) {
		t.Errorf("an offer with it: %v", err)
	}
}

func TestEmptyMachine(t *testing.T) {
	t.Parallel()
	if h := Read(t.TempDir(), ""); h.Threads != 0 || h.MemoryBytes != 0 || h.GPUs != nil || h.CPU != "" {
		t.Errorf("nothing is read as %+v", h)
	}
}

// This machine can be read, whatever it is.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	h := Read("/", t.TempDir())
	if h.Threads == 0 || h.Cores == 0 || h.Cores > h.Threads || h.DiskBytes == 0 || h.Arch == "" {
		t.Errorf("this machine is read as %+v", h)
	}
	if _, err := os.Stat("/proc/meminfo"); err == nil && h.MemoryBytes == 0 {
		t.Error("its memory is not read")
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	var all []string
	for _, l := range x86Levels {
		all = append(all, l.flags...)
		if got := x86(all); !slices.Contains(got, l.name) {
			t.Errorf("all flags of %s give %v", l.name, got)
		}
		if got := x86(all[:len(all)-1]); slices.Contains(got, l.name) {
			t.Errorf("%s without %s gives %v", l.name, all[len(all)-1], got)
		}
	}
}
