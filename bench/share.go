package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/limits/host"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/work"
)

// givenPercent is what the row gives: --cpu 10%.
const givenPercent = 10

// cpuShare keeps every slot busy under --cpu 10%, while this process hashes now and
// then as a provider does, and counts what all of it used.
func cpuShare(ctx context.Context, b *bench) (err error) {
	dir, err := os.MkdirTemp("", "gotong-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	module := wasm.Calibration()
	blobs := memoryBlobs{}
	sensors := host.New(host.Config{Dir: dir})
	cores := sensors.Read().Cores
	rt, err := wasm.New(wasm.Config{Dir: dir, Blobs: blobs, Slots: cores, Limited: true, Log: b.log})
	if err != nil {
		return err
	}
	defer rt.Close()
	config, err := limits.Parse(limits.Flags{CPU: fmt.Sprintf("%d%%", givenPercent), Power: "any", Metered: "work"})
	if err != nil {
		return err
	}
	gov, err := limits.New(limits.Options{Config: config, Slots: cores, Sensors: sensors, Workers: rt, Own: host.CPUTime, Log: b.log})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var faults = make(chan error, cores+1)
	defer func() {
		stop()
		wg.Wait()
		close(faults)
		for fault := range faults {
			err = errors.Join(err, fault)
		}
	}()
	wg.Go(func() { faults <- gov.Run(ctx) })
	task := runtime.Task{Program: blobs.put(module), Profile: gw1.Version, Item: &work.Item{},
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 1e12, OutputBytes: 1}}
	for range cores {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := rt.Run(ctx, task); err != nil && ctx.Err() == nil {
					faults <- err
					return
				}
			}
		})
	}
	wg.Go(func() { hashNowAndThen(ctx) })

	sleep := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	sleep(5 * time.Second) // the program is compiled, the workers are warm
	workers, byGroup, err := shareNow(rt)
	if err != nil {
		return err
	}
	own, at := host.CPUTime(), time.Now()
	sleep(time.Duration(b.size(60, 10)) * time.Second)
	workersEnd, _, err := shareNow(rt)
	if err != nil {
		return err
	}
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / time.Since(at).Seconds() / float64(cores) }
	w, o := percent(workersEnd-workers), percent(host.CPUTime()-own)
	b.values["cpu_share"] = math.Abs(w + o - givenPercent)
	how := "by their control group's accounting"
	if !byGroup {
		how = "by their processes' clocks"
	}
	b.say("--cpu %d%% of %d cores for %.0f s: %.2f %%, of which workers %.2f %% (%s) and this process %.2f %%; %s",
		givenPercent, cores, time.Since(at).Seconds(), w+o, w, how, o, rt.Bound())
	return ctx.Err()
}

// shareNow is the CPU time of all workers so far.
func shareNow(rt *wasm.Runtime) (used time.Duration, byGroup bool, err error) {
	used, err = rt.GroupCPUTime()
	if errors.Is(err, wasm.ErrNoGroup) {
		return rt.CPUTime(), false, nil
	}
	return used, true, err
}

// hashNowAndThen hashes for a tenth of each second, until ctx ends.
func hashNowAndThen(ctx context.Context) {
	data := make([]byte, 64<<10)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
			sum := sha256.Sum256(data)
			copy(data, sum[:])
		}
	}
}
