package gw1

import "slices"

// wasiModule is the only module that imports may come from.
const wasiModule = "wasi_snapshot_preview1"

// Signature gives parameter and result types in the binary format's codes (0x7f i32, 0x7e i64).
type Signature struct{ Params, Results []byte }

// Function is a function of WASI preview 1.
type Function struct {
	Module, Name string
	Signature    Signature
}

// Functions returns all functions of WASI preview 1, sorted by name, for an adapter to register with its engine.
func Functions() []Function {
	list := make([]Function, 0, len(signatures))
	for name, s := range signatures {
		list = append(list, Function{wasiModule, name, s})
	}
	slices.SortFunc(list, func(a, b Function) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

// signatures is WASI preview 1: i for i32, l for i64. All but proc_exit answer with an errno.
var signatures = func() map[string]Signature {
	m := map[string]Signature{}
	for name, params := range map[string]string{
		"args_get": "ii", "args_sizes_get": "ii", "environ_get": "ii", "environ_sizes_get": "ii",
		"clock_res_get": "ii", "clock_time_get": "ili",
		"fd_advise": "illi", "fd_allocate": "ill", "fd_close": "i", "fd_datasync": "i",
		"fd_fdstat_get": "ii", "fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "ill",
		"fd_filestat_get": "ii", "fd_filestat_set_size": "il", "fd_filestat_set_times": "illi",
		"fd_pread": "iiili", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii", "fd_pwrite": "iiili",
		"fd_read": "iiii", "fd_readdir": "iiili", "fd_renumber": "ii", "fd_seek": "ilii", "fd_sync": "i",
		"fd_tell": "ii", "fd_write": "iiii",
		"path_create_directory": "iii", "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiilli",
		"path_link": "iiiiiii", "path_open": "iiiiillii", "path_readlink": "iiiiii",
		"path_remove_directory": "iii", "path_rename": "iiiiii", "path_symlink": "iiiii", "path_unlink_file": "iii",
		"poll_oneoff": "iiii", "proc_exit": "i", "proc_raise": "i", "random_get": "ii", "sched_yield": "",
		"sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii",
	} {
		s := Signature{Results: []byte{typeI32}}
		if name == "proc_exit" {
			s.Results = nil
		}
		for _, c := range params {
			s.Params = append(s.Params, typeOf[c])
		}
		m[name] = s
	}
	return m
}()

// Error numbers of WASI preview 1.
const (
	errnoSuccess     = 0
	errnoBadf        = 8
	errnoExist       = 20
	errnoFault       = 21
	errnoFbig        = 22
	errnoIlseq       = 25
	errnoInval       = 28
	errnoIsdir       = 31
	errnoLoop        = 32
	errnoMfile       = 33
	errnoNametoolong = 37
	errnoNoent       = 44
	errnoNospc       = 51
	errnoNosys       = 52
	errnoNotdir      = 54
	errnoNotempty    = 55
	errnoNotsup      = 58
	errnoRofs        = 69
	errnoSpipe       = 70
	errnoNotcapable  = 76
)

// File types of WASI preview 1.
const (
	filetypeUnknown   = 0
	filetypeDirectory = 3
	filetypeRegular   = 4
)

// Rights of WASI preview 1 that the host looks at, and the two sets that it reports.
const (
	rightRead  = 1 << 1
	rightSeek  = 1 << 2
	rightTell  = 1 << 5
	rightWrite = 1 << 6

	rightsAll    = 1<<30 - 1
	rightsStream = rightsAll &^ (rightSeek | rightTell)
)

// Flags of path_open and of descriptors.
const (
	oflagCreate    = 1
	oflagDirectory = 2
	oflagExclusive = 4
	oflagTruncate  = 8

	fdflagAppend = 1
)
