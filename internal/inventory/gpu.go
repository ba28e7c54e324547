package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gotong-network/gotong/work"
)

// gpus are the graphics processors: those on PCI in the order of their addresses,
// then those of boards.
func (r reader) gpus() []work.GPU {
	var out []work.GPU
	for _, at := range r.names("sys", "bus", "pci", "devices") {
		if g, ok := r.pci(at); ok {
			out = append(out, g)
		}
	}
	out = append(out, r.boards()...)
	return out[:min(len(out), work.MaxGPUs)]
}

// pciDisplay is the first byte of the PCI class of display controllers.
const pciDisplay = 0x03

// pci reads a device on PCI, if it is a display controller.
func (r reader) pci(at string) (work.GPU, bool) {
	dir := []string{"sys", "bus", "pci", "devices", at}
	file := func(name ...string) []string { return append(slices.Clone(dir), name...) }
	if r.number(file("class")...)>>16 != pciDisplay {
		return work.GPU{}, false
	}
	g := work.GPU{Name: fmt.Sprintf("unknown:%04x:%04x", r.number(file("vendor")...), r.number(file("device")...))}
	driver := r.uevent(file("uevent")...)["DRIVER"]
	renders := slices.ContainsFunc(r.names(file("drm")...), func(n string) bool { return strings.HasPrefix(n, "renderD") })
	switch {
	case driver == "nvidia":
		for _, kv := range fields(r.bytes("proc", "driver", "nvidia", "gpus", at, "information")) {
			if kv[0] == "Model" {
				g.Name = clip(kv[1])
			}
		}
		g.Driver = r.driver(driver)
	case renders:
		g.Name = clip(cmp.Or(r.text(file("product_name")...), g.Name)) // amdgpu's; others have none
		g.MemoryBytes = r.number(file("mem_info_vram_total")...)
		g.Driver = r.driver(driver)
	}
	// A driver that only shows a console (a server's management controller) is none.
	return g, true
}

// driver is a driver's name and version, if it tells one.
func (r reader) driver(name string) string {
	return clip(strings.TrimSpace(name + " " + r.text("sys", "module", strings.ReplaceAll(name, "-", "_"), "version")))
}

// boards are the graphics processors that are no PCI devices: their render nodes
// lead to a device of the device tree, named by what it is compatible with.
func (r reader) boards() []work.GPU {
	var out []work.GPU
	for _, n := range r.names("sys", "class", "drm") {
		if !strings.HasPrefix(n, "renderD") {
			continue
		}
		e := r.uevent("sys", "class", "drm", n, "device", "uevent")
		if name := e["OF_COMPATIBLE_0"]; name != "" && e["PCI_ID"] == "" {
			out = append(out, work.GPU{Name: clip(name), Driver: r.driver(e["DRIVER"])})
		}
	}
	return out
}

// uevent reads a file of NAME=VALUE lines.
func (r reader) uevent(parts ...string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(r.bytes(parts...))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = clean(value)
		}
	}
	return out
}
