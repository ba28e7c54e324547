//go:build linux && (amd64 || arm64)

package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
)

// groupTree writes a file system's root as the kernel shows it.
func groupTree(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func wantControls(t *testing.T, want map[string]string) {
	t.Helper()
	for file, value := range want {
		if b, err := os.ReadFile(file); err != nil || string(b) != value {
			t.Errorf("%s: %q (%v), want %q", file, b, err, value)
		}
	}
}

const (
	unifiedMount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	someLimits   = 5<<20 + 1
)

func TestUnifiedGroup(t *testing.T) {
	t.Parallel()
	const service = "sys/fs/cgroup/gotong.service/"
	root := groupTree(t, map[string]string{
		"proc/self/cgroup":                          "0::/gotong.service/main\n",
		"proc/self/mountinfo":                       "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + unifiedMount,
		service + "main/cgroup.controllers":         "cpuset cpu io memory pids\n",
		service + "main/cgroup.procs":               "1\n2\n",
		service + "cgroup.subtree_control":          "",
		service + groupPrefix + "999999999-1/dummy": "",
	})
	if err := os.Remove(filepath.Join(root, service, groupPrefix+"999999999-1/dummy")); err != nil {
		t.Fatal(err)
	}
	g := findGroups(root, CgroupOwn)
	if got := g.String(); got != "control group v2 (memory, pids, cpu)" {
		t.Fatal(got)
	}
	if _, err := os.Stat(filepath.Join(root, service, groupPrefix+"999999999-1")); err == nil {
		t.Error("the group of a dead owner is still there")
	}
	one, err := g.create(groupLimits{memory: someLimits, pids: 7, cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := one.add(4321); err != nil {
		t.Fatal(err)
	}
	dir := one.dirs["memory"]
	if filepath.Dir(dir) != filepath.Join(root, service) {
		t.Errorf("the group is at %s, want it beside the process's own", dir)
	}
	wantControls(t, map[string]string{
		dir + "/memory.max": fmt.Sprint(someLimits), dir + "/memory.oom.group": "1", dir + "/pids.max": "7",
		dir + "/cpu.max": "200000 100000", dir + "/cgroup.procs": "4321",
	})
	if one.outOfMemory() {
		t.Error("out of memory before anything ran")
	}
	if err := os.WriteFile(dir+"/memory.events", []byte("low 0\noom 3\noom_kill 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !one.outOfMemory() {
		t.Error("the kernel's kill was not seen")
	}
}

// TestUnifiedGroupAlone is a process that a service manager put, alone, into a
// delegated group: it moves one level down.
func TestUnifiedGroupAlone(t *testing.T) {
	t.Parallel()
	const service = "sys/fs/cgroup/gotong.service/"
	tree := map[string]string{
		"proc/self/cgroup":                 "0::/gotong.service\n",
		"proc/self/mountinfo":              unifiedMount,
		service + "cgroup.controllers":     "memory pids\n",
		service + "cgroup.procs":           strconv.Itoa(os.Getpid()) + "\n",
		service + "cgroup.subtree_control": "",
	}
	g := findGroups(groupTree(t, tree), CgroupOwn)
	if got := g.String(); got != "control group v2 (memory, pids)" {
		t.Fatal(got)
	}
	wantControls(t, map[string]string{g.parents["memory"] + "/gotong-main/cgroup.procs": strconv.Itoa(os.Getpid())})

	tree[service+"cgroup.procs"] = "1\n" + strconv.Itoa(os.Getpid()) + "\n"
	if got := findGroups(groupTree(t, tree), CgroupOwn).String(); !strings.Contains(got, "other processes") {
		t.Errorf("in a group with other processes: %s", got)
	}
}

func TestV1Group(t *testing.T) {
	t.Parallel()
	root := groupTree(t, map[string]string{
		"proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/docker/x/b\n3:pids:/elsewhere\n0::/\n",
		"proc/self/mountinfo": "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"32 30 0:28 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"33 30 0:29 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
		"sys/fs/cgroup/cpu,cpuacct/a/tasks": "",
		"sys/fs/cgroup/memory/b/tasks":      "",
	})
	g := findGroups(root, CgroupOwn)
	if got := g.String(); got != "control group v1 (memory, cpu)" {
		t.Fatal(got) // pids is mounted from below this process's group
	}
	one, err := g.create(groupLimits{memory: someLimits, pids: 7, cores: 3})
	if err != nil {
		t.Fatal(err)
	}
	wantControls(t, map[string]string{
		one.dirs["memory"] + "/memory.limit_in_bytes": fmt.Sprint(someLimits),
		one.dirs["cpu"] + "/cpu.cfs_quota_us":         "300000",
	})
	if err := os.WriteFile(one.dirs["memory"]+"/memory.oom_control", []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !one.outOfMemory() {
		t.Error("the kernel's kill was not seen")
	}
}

func TestNoGroup(t *testing.T) {
	t.Parallel()
	for want, g := range map[string]*groups{
		"switched off":  findGroups("/", CgroupNone),
		"no such file":  findGroups(t.TempDir(), CgroupOwn),
		"none of the":   findGroups(groupTree(t, map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": unifiedMount, "sys/fs/cgroup/cgroup.controllers": ""}), CgroupOwn),
		"not delegated": findGroups(groupTree(t, map[string]string{"proc/self/cgroup": "3:pids:/\n", "proc/self/mountinfo": "33 30 0:29 / /pids rw - cgroup cgroup rw,pids\n"}), CgroupDelegated),
	} {
		if got := g.String(); !strings.HasPrefix(got, "no control group (") || !strings.Contains(got, want) {
			t.Errorf("%s: %s", want, got)
		}
	}
}

// TestRealGroup holds that what Sandbox says of the control group is what the
// kernel was told: the worker is in a group with the limits, or there is a reason
// why not.
func TestRealGroup(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1, Cgroup: CgroupOwn, MemoryBytes: 64 << 20, OutputBytes: 1 << 20})
	defer rt.Close()
	task := moduleTask(blobs, runtimetest.Module(nil))
	task.Limits.MemoryBytes = 1 << 20
	if _, err := rt.Run(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	t.Log(rt.Sandbox())
	if !strings.HasSuffix(rt.Sandbox(), rt.groups.String()) {
		t.Errorf("Sandbox says %q, the runtime found %q", rt.Sandbox(), rt.groups)
	}
	idle, _ := workers(rt)
	p := idle[0]
	if rt.groups.version == 0 {
		if p.group != nil || !strings.Contains(rt.Sandbox(), "no control group (") {
			t.Errorf("no groups, and yet %+v", p.group)
		}
		return
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	for _, dir := range p.group.folders() {
		if in, err := words(filepath.Join(dir, "cgroup.procs")); err != nil || len(in) != 1 || in[0] != pid {
			t.Errorf("%s holds %v (%v), want the worker %s", dir, in, err, pid)
		}
	}
	if dir := p.group.dirs["memory"]; dir != "" {
		name := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[p.group.version]
		v, err := words(filepath.Join(dir, name))
		if err != nil || len(v) != 1 {
			t.Fatalf("%s: %v, %v", name, v, err)
		}
		if n, _ := strconv.ParseUint(v[0], 10, 64); n == 0 || n > p.ready.dataBytes+groupSlack || n < p.ready.dataBytes {
			t.Errorf("the group may take %d bytes, want %d", n, p.ready.dataBytes+groupSlack)
		}
	}
	folders := p.group.folders()
	rt.Close()
	for _, dir := range folders {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
}

// TestGroupBoundsThreads holds that a worker which was taken over cannot fill the
// host with threads where groups are to be had.
func TestGroupBoundsThreads(t *testing.T) {
	t.Parallel()
	exe, _ := deedBinary(t, "threads@"+stageServing)
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, SelfExe: exe, Slots: 1, Dir: t.TempDir(), Cgroup: CgroupOwn})
	defer rt.Close()
	_, err := rt.Run(t.Context(), moduleTask(blobs, runtimetest.Module(nil)))
	wantFault(t, err)
	want := "reached: 1000 threads"
	if rt.groups.parents["pids"] != "" && rt.groups.version > 0 {
		want = "failed to create new OS thread"
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q with %s", err, want, rt.groups)
	}
}
