package host

import (
	"encoding/hex"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gotong-network/gotong/internal/limits"
)

// net says whether the interface of the default route is paid by volume: a mobile
// link by its kind, a network that its owner marked so in NetworkManager, or a
// telephone that shares its own and says so when it gives out addresses.
func (h *Host) net() limits.Net {
	name := h.defaultInterface()
	if name == "" {
		return limits.Net{}
	}
	n := limits.Net{Known: true, What: name}
	index := h.text("sys/class/net/" + name + "/ifindex")
	n.Metered = h.mobile(name)
	if index != "" {
		if said, ok := h.networkManager(index); ok {
			n.Metered = said // the owner's word counts
		} else if h.sharedByTelephone(index) {
			n.Metered = true
		}
	}
	return n
}

// defaultInterface is where packets for everywhere go: of proc/net/route, or
// proc/net/ipv6_route where only that has such a route.
func (h *Host) defaultInterface() string {
	const up = 1
	best, metric := "", uint64(math.MaxUint64)
	for line := range strings.Lines(h.text("proc/net/route")) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		flags, err1 := strconv.ParseUint(f[3], 16, 32)
		m, err2 := strconv.ParseUint(f[6], 10, 64)
		if err1 == nil && err2 == nil && flags&up != 0 && m < metric {
			best, metric = f[0], m
		}
	}
	if best != "" {
		return best
	}
	for line := range strings.Lines(h.text("proc/net/ipv6_route")) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != "00" || strings.Trim(f[0], "0") != "" || f[9] == "lo" {
			continue
		}
		flags, err1 := strconv.ParseUint(f[8], 16, 32)
		m, err2 := strconv.ParseUint(f[5], 16, 64)
		if err1 == nil && err2 == nil && flags&up != 0 && m < metric {
			best, metric = f[9], m
		}
	}
	return best
}

// mobile reports a link over a mobile network, by the kernel's word or by the names
// that drivers of telephones give.
func (h *Host) mobile(name string) bool {
	for line := range strings.Lines(h.text("sys/class/net/" + name + "/uevent")) {
		if strings.TrimSpace(line) == "DEVTYPE=wwan" {
			return true
		}
	}
	return hasPrefix(name, []string{"wwan", "rmnet", "ccmni", "wwp", "wws", "wwx"})
}

// networkManager gives what the owner of a NetworkManager connection said; not ok if
// nothing was said or nothing can be read.
func (h *Host) networkManager(index string) (metered, ok bool) {
	uuid := keyOf(h.text("run/NetworkManager/devices/"+index), "connection-uuid")
	if uuid == "" {
		return false, false
	}
	for _, dir := range []string{"etc/NetworkManager/system-connections", "run/NetworkManager/system-connections"} {
		for _, file := range h.names(dir) {
			text := h.text(filepath.Join(dir, file))
			if keyOf(text, "uuid") != uuid {
				continue
			}
			switch keyOf(text, "metered") { // NMMetered
			case "1", "yes", "true":
				return true, true
			case "2", "no", "false":
				return false, true
			}
		}
	}
	return false, false
}

// keyOf is the value of the first line key=value.
func keyOf(text, key string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
			return v
		}
	}
	return ""
}

// sharedByTelephone reports the mark that telephones put into DHCP's option 43, which
// systemd-networkd keeps with its lease.
func (h *Host) sharedByTelephone(index string) bool {
	b, err := hex.DecodeString(keyOf(h.text("run/systemd/netif/leases/"+index), "VENDOR_SPECIFIC"))
	return err == nil && strings.Contains(string(b), "ANDROID_METERED")
}
