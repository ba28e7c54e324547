package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

//go:embed dask_peer.py
var daskPeer string

// dask runs no-op tasks through Dask's scheduler and gives tasks per second.
func (b *bench) dask(ctx context.Context) (float64, error) {
	python := "/usr/bin/python3" // the one that Debian's packages are for
	if err := exec.CommandContext(ctx, python, "-c", "import distributed").Run(); err != nil {
		return 0, errors.New("the peer, Dask, is not here: install Debian's package with `apt-get install python3-distributed`")
	}
	c := exec.CommandContext(ctx, python, "-c", daskPeer, strconv.Itoa(b.size(5000, 2000)))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, fmt.Errorf("run Dask: %w", err)
	}
	var r struct {
		TasksPerSec float64 `json:"tasks_per_s"`
		CPU         float64 `json:"cpu_s_per_task"`
		RoundTrip   float64 `json:"round_trip_p50_s"`
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || r.TasksPerSec <= 0 {
		return 0, fmt.Errorf("output of Dask, %q: %w", out, err)
	}
	b.say("Dask, 2 workers: %.0f tasks/s, %.0f µs CPU per task, one at a time %.1f ms", r.TasksPerSec, r.CPU*1e6, r.RoundTrip*1e3)
	return r.TasksPerSec, nil
}
