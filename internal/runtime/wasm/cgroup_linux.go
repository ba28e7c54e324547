//go:build linux && (amd64 || arm64)

package wasm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A control group is the second bound around a worker, where the system lets us
// make one (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/): it counts what
// the worker's own limits do not (page tables, memory files, threads), for the
// process as a whole.

// controllers are the ones that bound a worker.
var controllers = []string{"memory", "pids", "cpu"}

// accounting is version 1's controller that counts CPU time; version 2 always does.
const accounting = "cpuacct"

// groupPrefix, the owner's process number and a counter name a worker's group.
const groupPrefix = "gotong-worker-"

// groups makes the workers' groups.
type groups struct {
	version int               // 1 or 2; 0: none can be made
	parents map[string]string // controller: folder above the workers' groups
	why     string            // why version is 0
}

// String says what holds, for people.
func (g *groups) String() string {
	if g.version == 0 {
		return "no control group (" + g.why + ")"
	}
	var have []string
	for _, c := range controllers {
		if g.parents[c] != "" {
			have = append(have, c)
		}
	}
	return fmt.Sprintf("control group v%d (%s)", g.version, strings.Join(have, ", "))
}

// findGroups looks for a place where mode lets us make groups. root is the file
// system's, another one in tests only. What dead processes left there is removed.
func findGroups(root, mode string) *groups {
	if mode == CgroupNone {
		return &groups{why: "switched off"}
	}
	own, err := ownGroups(root)
	if err != nil {
		return &groups{why: err.Error()}
	}
	g := &groups{parents: map[string]string{}}
	var reasons []string
	if own.unified != "" {
		if err := g.useUnified(own, mode); err != nil {
			reasons = append(reasons, "v2: "+err.Error())
		}
	}
	if g.version == 0 {
		if err := g.useV1(own, mode); err != nil {
			reasons = append(reasons, "v1: "+err.Error())
		}
	}
	g.why = strings.Join(reasons, "; ")
	for _, dir := range g.folders() {
		removeDeadGroups(dir)
	}
	return g
}

// ownFolders are the folders of this process's groups.
type ownFolders struct {
	unified string            // v2; empty: not mounted
	v1      map[string]string // by controller
}

func ownGroups(root string) (own ownFolders, err error) {
	paths := map[string]string{} // by controller, "" for v2
	b, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return own, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				paths[c] = f[2]
			}
		}
	}
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return own, err
	}
	own.v1 = map[string]string{}
	for line := range strings.Lines(string(mounts)) {
		front, back, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 5 || len(kind) < 3 {
			continue
		}
		below := func(path string) (string, bool) { // of the mount's own root
			rel, err := filepath.Rel(f[3], path)
			if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
				return "", false
			}
			return filepath.Join(root, f[4], rel), true
		}
		switch kind[0] {
		case "cgroup2":
			if path, ok := paths[""]; ok && own.unified == "" {
				own.unified, _ = below(path)
			}
		case "cgroup":
			for c := range strings.SplitSeq(kind[2], ",") {
				if path, ok := paths[c]; ok && (c == accounting || slices.Contains(controllers, c)) && own.v1[c] == "" {
					if dir, ok := below(path); ok {
						own.v1[c] = dir
					}
				}
			}
		}
	}
	return own, nil
}

// errNotDelegated reports a group that is another's to change.
var errNotDelegated = errors.New("this process's group is not delegated to it")

// useUnified takes this process's own group or the one above it: a group with
// processes cannot have controlled groups below, so that a service manager puts
// the process one level down (DelegateSubgroup=), or we do.
func (g *groups) useUnified(own ownFolders, mode string) error {
	all, err := words(filepath.Join(own.unified, "cgroup.controllers"))
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(c string) bool { return !slices.Contains(controllers, c) })
	if len(all) == 0 {
		return errors.New("none of the controllers " + strings.Join(controllers, ", "))
	}
	first := errNotDelegated
	for _, dir := range []string{own.unified, filepath.Dir(own.unified)} {
		if mode != CgroupOwn && !delegated(dir) {
			continue
		}
		err := g.useBelow(dir, dir == own.unified, all)
		if err == nil {
			g.version = 2
			return nil
		}
		if first == errNotDelegated {
			first = err
		}
	}
	return first
}

// useBelow makes groups below dir, where this process is itself if inside.
func (g *groups) useBelow(dir string, inside bool, want []string) error {
	if inside {
		if err := moveDown(dir); err != nil {
			return err
		}
	}
	on, err := enable(dir, want)
	if len(on) == 0 {
		return err
	}
	for _, c := range on {
		g.parents[c] = dir
	}
	if err := g.try(); err != nil {
		clear(g.parents)
		return err
	}
	return nil
}

// moveDown puts this process into a group below dir if it is alone there.
func moveDown(dir string) error {
	in, err := words(filepath.Join(dir, "cgroup.procs"))
	if err != nil || len(in) == 0 {
		return err
	}
	if len(in) > 1 || in[0] != strconv.Itoa(os.Getpid()) {
		return errors.New("other processes are in this process's group")
	}
	below := filepath.Join(dir, "gotong-main")
	if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeControl(below, "cgroup.procs", in[0])
}

// enable turns controllers on for groups below dir and gives those that are on.
func enable(dir string, want []string) ([]string, error) {
	on, err := words(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return nil, err
	}
	var have []string
	for _, c := range want {
		if slices.Contains(on, c) {
			have = append(have, c)
		} else if fault := writeControl(dir, "cgroup.subtree_control", "+"+c); fault == nil {
			have = append(have, c)
		} else {
			err = fault
		}
	}
	return have, err
}

func (g *groups) useV1(own ownFolders, mode string) error {
	err := errors.New("not mounted")
	for _, c := range append([]string{accounting}, controllers...) {
		dir := own.v1[c]
		if dir == "" {
			continue
		}
		if mode != CgroupOwn && !delegated(dir) {
			err = errNotDelegated
			continue
		}
		g.parents[c] = dir
		one := groups{version: 1, parents: map[string]string{c: dir}}
		if fault := one.try(); fault != nil {
			delete(g.parents, c)
			err = fault
		}
	}
	if len(g.parents) == 0 || len(g.parents) == 1 && g.parents[accounting] != "" {
		clear(g.parents)
		return err
	}
	g.version = 1
	return nil
}

// delegated reports a folder that is ours by its owner, or by the mark that
// systemd puts on what it leaves to others.
func delegated(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() != 0 && int(s.Uid) == os.Geteuid() {
		return true
	}
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		b := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, b); err == nil && string(b[:n]) == "1" {
			return true
		}
	}
	return false
}

// try makes a group and removes it.
func (g *groups) try() error {
	one, err := g.create(groupLimits{memory: 1 << 30, pids: 1, cores: 1})
	one.remove()
	return err
}

func (g *groups) folders() []string {
	var dirs []string
	for _, dir := range g.parents {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// removeDeadGroups removes the groups whose owner has died. One that holds a
// process cannot be removed, so that a mistake costs nothing.
func removeDeadGroups(parent string) {
	for _, prefix := range []string{limitsPrefix, groupPrefix} {
		list, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
		for _, dir := range list {
			owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
			if pid, err := strconv.Atoi(owner); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
				removeDeadGroups(dir)
				_ = unix.Rmdir(dir)
			}
		}
	}
}

// groupLimits are the bounds of a group.
type groupLimits struct {
	memory uint64 // bytes
	pids   int    // processes and threads
	cores  int    // CPU time per time; 0: no bound
}

// group is one worker's. A nil group bounds nothing.
type group struct {
	version int
	dirs    map[string]string // by controller
	memory  uint64
}

var groupCounter atomic.Uint64

// create makes a group. After an error nothing is left.
func (g *groups) create(l groupLimits) (*group, error) {
	one, err := g.makeNamed(fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), groupCounter.Add(1)))
	if err != nil {
		return nil, err
	}
	if err := one.set(l); err != nil {
		one.remove()
		return nil, err
	}
	return one, nil
}

// makeNamed makes a group without limits. After an error nothing is left.
func (g *groups) makeNamed(name string) (*group, error) {
	version := g.version
	if version == 0 {
		version = 2 // useUnified tries before it decides
	}
	one := &group{version: version, dirs: map[string]string{}}
	for _, parent := range g.folders() {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			one.remove()
			return nil, err
		}
		for c, p := range g.parents {
			if p == parent {
				one.dirs[c] = dir
			}
		}
	}
	return one, nil
}

// set writes the limits.
func (g *group) set(l groupLimits) error {
	const period = 100_000 // µs, the kernel's own default
	values := map[string][][2]string{
		"memory": {{"memory.max", fmt.Sprint(l.memory)}, {"memory.oom.group", "1"}},
		"pids":   {{"pids.max", fmt.Sprint(l.pids)}},
		"cpu":    {{"cpu.max", fmt.Sprintf("%d %d", l.cores*period, period)}},
	}
	if g.version == 1 {
		values["memory"] = [][2]string{{"memory.limit_in_bytes", fmt.Sprint(l.memory)}}
		values["cpu"] = [][2]string{{"cpu.cfs_period_us", fmt.Sprint(period)}, {"cpu.cfs_quota_us", fmt.Sprint(l.cores * period)}}
	}
	if l.cores == 0 {
		delete(values, "cpu")
	}
	for c, dir := range g.dirs {
		for _, v := range values[c] {
			if err := writeControl(dir, v[0], v[1]); err != nil {
				return err
			}
		}
	}
	g.memory = l.memory
	return nil
}

// add puts a process with all its threads into the group.
func (g *group) add(pid int) error {
	for _, dir := range g.folders() {
		if err := writeControl(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// outOfMemory reports whether the kernel killed for want of memory in the group.
func (g *group) outOfMemory() bool {
	if g == nil || g.dirs["memory"] == "" {
		return false
	}
	name := "memory.events"
	if g.version == 1 {
		name = "memory.oom_control"
	}
	b, err := os.ReadFile(filepath.Join(g.dirs["memory"], name))
	if err != nil {
		return false
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if n, ok := strings.CutPrefix(s.Text(), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

// remove removes the group, which must be empty by now. A folder that stays
// costs the kernel a little memory; the next runtime here removes it.
func (g *group) remove() {
	if g == nil {
		return
	}
	for _, dir := range g.folders() {
		_ = unix.Rmdir(dir)
	}
}

func (g *group) folders() []string { return (&groups{parents: g.dirs}).folders() }

// writeControl writes a value into a control file.
func writeControl(dir, name, value string) error {
	err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func words(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	return strings.Fields(string(b)), err
}
