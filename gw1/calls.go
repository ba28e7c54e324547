package gw1

import (
	"encoding/binary"
	"math"
)

// Call answers one WASI call: its name, the linear memory and the arguments as the engine has them, i32 in the
// low half. It returns the errno; proc_exit and caps end the run by panicking with *Exit or *Stop. Otherwise it
// never panics, whatever the arguments. mem may be nil for a module without memory.
func (h *Host) Call(name string, mem Memory, args []uint64) (errno uint32) {
	f, ok := calls[name]
	if !ok || len(args) != len(signatures[name].Params) {
		return errnoNosys
	}
	h.charge(FuelPerHostCall)
	if mem == nil {
		mem = noMemory{}
	}
	return f(h, mem, args)
}

// noMemory is the memory of a module without one.
type noMemory struct{}

func (noMemory) Read(uint32, uint32) ([]byte, bool) { return nil, false }
func (noMemory) Write(uint32, []byte) bool          { return false }

var calls = map[string]func(h *Host, m Memory, a []uint64) uint32{
	"args_get":                func(h *Host, m Memory, a []uint64) uint32 { return h.strings(m, a, h.c.Args) },
	"args_sizes_get":          func(h *Host, m Memory, a []uint64) uint32 { return h.stringSizes(m, a, h.c.Args) },
	"environ_get":             func(h *Host, m Memory, a []uint64) uint32 { return h.strings(m, a, h.c.Env) },
	"environ_sizes_get":       func(h *Host, m Memory, a []uint64) uint32 { return h.stringSizes(m, a, h.c.Env) },
	"clock_res_get":           (*Host).clockRes,
	"clock_time_get":          (*Host).clockTime,
	"fd_advise":               (*Host).fdAdvise,
	"fd_allocate":             (*Host).fdAllocate,
	"fd_close":                (*Host).fdClose,
	"fd_datasync":             (*Host).fdSync,
	"fd_fdstat_get":           (*Host).fdStat,
	"fd_fdstat_set_flags":     (*Host).fdSetFlags,
	"fd_fdstat_set_rights":    (*Host).fdSetRights,
	"fd_filestat_get":         (*Host).fdFilestat,
	"fd_filestat_set_size":    (*Host).fdSetSize,
	"fd_filestat_set_times":   (*Host).fdSetTimes,
	"fd_pread":                (*Host).fdPread,
	"fd_prestat_get":          (*Host).prestat,
	"fd_prestat_dir_name":     (*Host).prestatName,
	"fd_pwrite":               (*Host).fdPwrite,
	"fd_read":                 (*Host).fdRead,
	"fd_readdir":              (*Host).fdReaddir,
	"fd_renumber":             (*Host).fdRenumber,
	"fd_seek":                 (*Host).fdSeek,
	"fd_sync":                 (*Host).fdSync,
	"fd_tell":                 (*Host).fdTell,
	"fd_write":                (*Host).fdWrite,
	"path_create_directory":   (*Host).pathCreateDirectory,
	"path_filestat_get":       (*Host).pathFilestat,
	"path_filestat_set_times": (*Host).pathSetTimes,
	"path_link":               notSupported,
	"path_open":               (*Host).pathOpen,
	"path_readlink":           (*Host).pathReadlink,
	"path_remove_directory":   func(h *Host, m Memory, a []uint64) uint32 { return h.pathRemove(m, a, true) },
	"path_rename":             (*Host).pathRename,
	"path_symlink":            notSupported,
	"path_unlink_file":        func(h *Host, m Memory, a []uint64) uint32 { return h.pathRemove(m, a, false) },
	"poll_oneoff":             (*Host).poll,
	"proc_exit":               func(_ *Host, _ Memory, a []uint64) uint32 { panic(&Exit{uint32(a[0])}) },
	"proc_raise":              notSupported,
	"random_get":              (*Host).randomGet,
	"sched_yield":             func(*Host, Memory, []uint64) uint32 { return errnoSuccess },
	"sock_accept":             notSupported,
	"sock_recv":               notSupported,
	"sock_send":               notSupported,
	"sock_shutdown":           notSupported,
}

// notSupported answers links, signals and sockets, which do not exist here.
func notSupported(*Host, Memory, []uint64) uint32 { return errnoNotsup }

// charge takes fuel or ends the run.
func (h *Host) charge(n uint64) {
	if h.c.Fuel != nil && !h.c.Fuel.Charge(n) {
		panic(&Stop{Reason: StopFuel})
	}
}

// chargeBytes takes fuel for bytes moved between host and memory.
func (h *Host) chargeBytes(n uint64) {
	h.charge((n + HostBytesPerFuel - 1) / HostBytesPerFuel)
}

// --- memory

var le = binary.LittleEndian

// ok turns the result of a write into an errno.
func ok(written bool) uint32 {
	if written {
		return errnoSuccess
	}
	return errnoFault
}

func putU32(m Memory, at uint64, v uint32) uint32 {
	return ok(m.Write(uint32(at), le.AppendUint32(nil, v)))
}

func putU64(m Memory, at uint64, v uint64) uint32 {
	return ok(m.Write(uint32(at), le.AppendUint64(nil, v)))
}

// --- arguments, environment, clock, random

func (h *Host) stringSizes(m Memory, a []uint64, list []string) uint32 {
	total := 0
	for _, s := range list {
		total += len(s) + 1
	}
	if errno := putU32(m, a[0], uint32(len(list))); errno != errnoSuccess {
		return errno
	}
	return putU32(m, a[1], uint32(total))
}

func (h *Host) strings(m Memory, a []uint64, list []string) uint32 {
	var pointers, text []byte
	for _, s := range list {
		pointers = le.AppendUint32(pointers, uint32(a[1])+uint32(len(text)))
		text = append(append(text, s...), 0)
	}
	h.chargeBytes(uint64(len(pointers) + len(text)))
	if !m.Write(uint32(a[0]), pointers) {
		return errnoFault
	}
	return ok(m.Write(uint32(a[1]), text))
}

// Clocks of WASI preview 1: realtime, monotonic, process and thread time. The last three are the same.
const clocks = 4

// now is the time on a clock.
func (h *Host) now(clock uint32) uint64 {
	if clock == 0 {
		return h.clock
	}
	return h.clock - clockEpoch
}

// advance moves the clock, which stops at the end of its range.
func (h *Host) advance(ns uint64) {
	h.clock = min(h.clock, math.MaxInt64) + min(ns, math.MaxInt64-min(h.clock, math.MaxInt64))
}

func (h *Host) clockRes(m Memory, a []uint64) uint32 {
	if uint32(a[0]) >= clocks {
		return errnoInval
	}
	return putU64(m, a[1], clockStep)
}

func (h *Host) clockTime(m Memory, a []uint64) uint32 {
	if uint32(a[0]) >= clocks {
		return errnoInval
	}
	h.advance(clockStep)
	return putU64(m, a[2], h.now(uint32(a[0])))
}

// chunkBytes is how much is copied between host and memory at a time.
const chunkBytes = 64 << 10

func (h *Host) randomGet(m Memory, a []uint64) uint32 {
	at, left := uint32(a[0]), uint32(a[1])
	if _, inside := m.Read(at, left); !inside {
		return errnoFault
	}
	h.chargeBytes(uint64(left))
	buf := make([]byte, min(left, chunkBytes))
	for left > 0 {
		part := buf[:min(left, chunkBytes)]
		h.random.Read(part)
		if !m.Write(at, part) {
			return errnoFault
		}
		at, left = at+uint32(len(part)), left-uint32(len(part))
	}
	return errnoSuccess
}

// --- poll

// Layout of subscriptions and events.
const (
	subscriptionBytes = 48
	eventBytes        = 32
)

// poll answers poll_oneoff: files and streams are always ready. If only clocks are waited for, virtual time
// jumps to the earliest of them.
func (h *Host) poll(m Memory, a []uint64) uint32 {
	n := uint32(a[2])
	if n == 0 || n > maxSubscriptions {
		return errnoInval
	}
	h.charge(FuelPerDirEntry * uint64(n))
	subs, inside := m.Read(uint32(a[0]), n*subscriptionBytes)
	if !inside {
		return errnoFault
	}
	var events []byte
	waits := make([]uint64, 0, n) // of clocks, in order
	earliest := uint64(math.MaxUint64)
	subs = append([]byte(nil), subs...)
	for s := subs; len(s) > 0; s = s[subscriptionBytes:] {
		switch clock := le.Uint32(s[16:]); {
		case s[8] != subscriptionClock:
			events = append(events, h.fdEvent(s)...)
		case clock >= clocks:
			events = append(events, event(s, errnoInval)...)
		default:
			wait := h.wait(s, clock)
			waits = append(waits, wait)
			earliest = min(earliest, wait)
		}
	}
	if len(events) == 0 {
		h.advance(earliest)
		for i, wait := range waits { // all subscriptions are clocks
			if wait == earliest {
				events = append(events, event(subs[i*subscriptionBytes:], errnoSuccess)...)
			}
		}
	}
	if !m.Write(uint32(a[1]), events) {
		return errnoFault
	}
	return putU32(m, a[3], uint32(len(events)/eventBytes))
}

// Kinds of subscriptions.
const (
	subscriptionClock = 0
	subscriptionRead  = 1
	subscriptionWrite = 2
)

// wait is how long a clock subscription waits from now on.
func (h *Host) wait(sub []byte, clock uint32) uint64 {
	timeout := le.Uint64(sub[24:])
	if absolute := le.Uint16(sub[40:])&1 != 0; !absolute {
		return timeout
	}
	return timeout - min(timeout, h.now(clock))
}

// event is the answer to a subscription.
func event(sub []byte, errno uint16) []byte {
	e := make([]byte, eventBytes)
	copy(e, sub[:8]) // the program's own mark
	le.PutUint16(e[8:], errno)
	e[10] = sub[8]
	return e
}

func (h *Host) fdEvent(sub []byte) []byte {
	if sub[8] > subscriptionWrite {
		return event(sub, errnoInval)
	}
	d := h.fd(uint64(le.Uint32(sub[16:])))
	if d == nil {
		return event(sub, errnoBadf)
	}
	e := event(sub, errnoSuccess)
	if sub[8] == subscriptionRead && d.kind == fdFile {
		le.PutUint64(e[16:], uint64(max(0, d.node.size()-d.pos)))
	} else if sub[8] == subscriptionWrite {
		le.PutUint64(e[16:], chunkBytes)
	}
	return e
}
