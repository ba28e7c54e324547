package host

import (
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/limits"
)

// Sensors by what they sit on: those of the processor count where there are any;
// some others are hot by nature and say nothing of the load.
var (
	processorSensors = []string{"x86_pkg_temp", "coretemp", "k10temp", "zenpower", "cpu", "soc", "tsens", "bcm2711_thermal", "bcm2835_thermal", "exynos", "mtktscpu", "big", "little", "package"}
	otherSensors     = []string{"nvme", "drivetemp", "iwlwifi", "ath1", "mt7", "pch_", "int3400", "bat", "charger", "phy", "modem", "wlan", "xo-therm"}
)

// heatEvery bounds how often sensors are read: some of them cost a message to a
// device.
const heatEvery = 5 * time.Second

// heatNow is heat, or what it was a moment ago.
func (h *Host) heatNow(now time.Time) limits.Heat {
	if since := now.Sub(h.heatAt); h.heatAt.IsZero() || since >= heatEvery || since < 0 {
		h.heatAt, h.hottest = now, h.heat()
	}
	return h.hottest
}

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
		if hasPrefix(strings.ToLower(name), processorSensors) {
			to = &processor
		}
		if !to.Known || c > to.Celsius {
			*to = limits.Heat{Known: true, Celsius: c, What: name}
		}
	}
	for _, zone := range h.names("sys/class/thermal") {
		at := "sys/class/thermal/" + zone + "/"
		kind := h.text(at + "type")
		if !strings.HasPrefix(zone, "thermal_zone") || other(kind) {
			continue
		}
		if milli, ok := h.number(at + "temp"); ok {
			note(kind, milli)
		}
	}
	for _, chip := range h.names("sys/class/hwmon") {
		at := "sys/class/hwmon/" + chip + "/"
		name := h.text(at + "name")
		if other(name) {
			continue // nor is it asked: a sleeping disk would wake up
		}
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

// other reports a sensor that says nothing of the load.
func other(name string) bool {
	lower := strings.ToLower(name)
	return hasPrefix(lower, otherSensors) && !hasPrefix(lower, processorSensors)
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
