package host

import (
	"strings"

	"github.com/gotong-network/gotong/internal/limits"
)

// Sensors by what they sit on: those of the processor count where there are any;
// some others are hot by nature and say nothing of the load.
var (
	processorSensors = []string{"x86_pkg_temp", "coretemp", "k10temp", "zenpower", "cpu", "soc", "tsens", "bcm2711_thermal", "bcm2835_thermal", "exynos", "mtktscpu", "big", "little", "package"}
	otherSensors     = []string{"nvme", "drivetemp", "iwlwifi", "ath1", "mt7", "pch_", "int3400", "bat", "charger", "phy", "modem", "wlan", "xo-therm"}
)

// heat is the hottest sensor that counts, of sys/class/thermal
// (Documentation/driver-api/thermal/sysfs-api.rst) and sys/class/hwmon
// (Documentation/hwmon/sysfs-interface.rst).
func (h *Host) heat() limits.Heat {
	var processor, board limits.Heat
	note := func(name string, milli int64) {
		c := float64(milli) / 1000
		if !(c > 0 && c < 150) { // a sensor that is not there
			return
		}
		to := &board
		lower := strings.ToLower(name)
		switch {
		case hasPrefix(lower, processorSensors):
			to = &processor
		case hasPrefix(lower, otherSensors):
			return
		}
		if !to.Known || c > to.Celsius {
			*to = limits.Heat{Known: true, Celsius: c, What: name}
		}
	}
	for _, zone := range h.names("sys/class/thermal") {
		at := "sys/class/thermal/" + zone + "/"
		if milli, ok := h.number(at + "temp"); ok && strings.HasPrefix(zone, "thermal_zone") {
			note(h.text(at+"type"), milli)
		}
	}
	for _, chip := range h.names("sys/class/hwmon") {
		at := "sys/class/hwmon/" + chip + "/"
		name := h.text(at + "name")
		for _, file := range h.names(at) {
			sensor, ok := strings.CutSuffix(file, "_input")
			if !ok || !strings.HasPrefix(sensor, "temp") {
				continue
			}
			milli, ok := h.number(at + file)
			if !ok {
				continue
			}
			what := name
			if label := h.text(at + sensor + "_label"); label != "" {
				what += " " + label
			}
			note(what, milli)
		}
	}
	if processor.Known {
		return processor
	}
	return board
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
