package host

import "github.com/gotong-network/gotong/internal/limits"

// power reads sys/class/power_supply
// (Documentation/ABI/testing/sysfs-class-power). A machine without any supply says
// nothing, which is what desktops and servers do.
func (h *Host) power() limits.Power {
	const dir = "sys/class/power_supply/"
	var p limits.Power
	plugged, discharging, filled := false, false, false
	for _, name := range h.names(dir) {
		at := dir + name + "/"
		if h.text(at+"scope") == "Device" {
			continue // of a mouse or a headset
		}
		switch h.text(at + "type") {
		case "Battery", "UPS":
			if present, ok := h.number(at + "present"); ok && present == 0 {
				continue
			}
			p.Known = true
			switch h.text(at + "status") {
			case "Discharging":
				discharging = true
			case "Charging", "Full", "Not charging":
				filled = true
			}
			if n, ok := h.number(at + "capacity"); ok && n > 0 && n <= 100 {
				p.Percent = int(n)
			}
		case "Mains", "USB", "USB_C", "USB_PD", "USB_DCP", "USB_CDP", "Wireless", "BrickID":
			if online, ok := h.number(at + "online"); ok {
				p.Known = true
				plugged = plugged || online > 0
			}
		}
	}
	// A supply that delivers less than is used is still mains; a battery that says
	// nothing of use is believed to be the source only if nothing is plugged in.
	p.Battery = discharging && !plugged
	if !discharging && !filled && !plugged && p.Percent > 0 {
		p.Battery = true
	}
	return p
}
