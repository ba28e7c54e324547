package limits

import (
	"fmt"
	"time"
)

// unreadable stands for a sensor that is not there.
const unreadable = "cannot be read here"

// text is what each sensor says, for people.
func (r *Readings) text() map[string]string {
	return map[string]string{
		"input": r.Input.String(), "load": r.Load.String(), "power": r.Power.String(),
		"heat": r.Heat.String(), "network": r.Net.String(), "disk": r.Disk.String(),
	}
}

// String says what was read.
func (x Input) String() string {
	if !x.Known {
		return unreadable
	}
	return fmt.Sprintf("%s was used %s ago", x.What, x.Idle.Round(time.Second))
}

// String says what was read.
func (x Load) String() string {
	if !x.Known {
		return unreadable
	}
	return fmt.Sprintf("other programs keep %.2f cores busy", x.Cores)
}

// String says what was read.
func (x Power) String() string {
	switch {
	case !x.Known:
		return unreadable
	case !x.Battery:
		return "mains"
	case x.Percent > 0:
		return fmt.Sprintf("battery, %d%%", x.Percent)
	}
	return "battery"
}

// String says what was read.
func (x Heat) String() string {
	if !x.Known {
		return unreadable
	}
	return fmt.Sprintf("%.0f °C (%s)", x.Celsius, x.What)
}

// String says what was read.
func (x Net) String() string {
	switch {
	case !x.Known:
		return unreadable
	case x.Metered:
		return x.What + ", metered"
	}
	return x.What + ", not metered"
}

// String says what was read.
func (x Disk) String() string {
	if !x.Known {
		return unreadable
	}
	return fmt.Sprintf("%s of %s free, %s are our blobs", bytesText(x.Free), bytesText(x.Total), bytesText(x.Used))
}
