package gw1_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/gotong-network/gotong/gw1"
)

// What a failing call answers first and what it has paid by then is part of the profile (section 6 of the
// specification): fuel and final state of a run depend on it.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	const (
		outside = 70_000 // behind the memory
		closed  = 99
		dir     = 4
		file    = 5 // 10 bytes, may be read and written
		input   = 6
		written = 7 // a file that may only be written
		stdin   = 0
		stdout  = 1

		list    = 100 // one buffer of 8 bytes at 5,000
		badList = 200 // one buffer outside memory
		longer  = 300 // two buffers, the second outside memory
		huge    = 400 // two buffers of 2^31 bytes
		a, abs  = 1000, 1100
		nothing = 1200
		up      = 1300
		newFile = 1400
		tmpFile = 1500
		max64   = math.MaxUint64
		path    = gw1.FuelPerPathCall
	)
	paths := map[uint64]string{a: "in/a", abs: "/in/a", nothing: "none/x", up: "../x", newFile: "out/new", tmpFile: "tmp/file"}
	const (
		fbig, nametoolong, spipe = 22, 37, 70
	)
	for _, c := range []struct {
		call  string
		args  []uint64
		errno uint32
		fuel  uint64 // besides that of any call
	}{
		{"args_get", []uint64{outside, 0}, efault, 3},
		{"args_get", []uint64{0, outside}, efault, 3},
		{"args_sizes_get", []uint64{outside, 0}, efault, 0},
		{"clock_res_get", []uint64{4, outside}, einval, 0},
		{"clock_time_get", []uint64{4, 0, outside}, einval, 0},
		{"clock_time_get", []uint64{1, 0, outside}, efault, 0},
		{"fd_advise", []uint64{dir, 0, 0, 99}, eisdir, 0},
		{"fd_advise", []uint64{stdout, 0, 0, 99}, spipe, 0},
		{"fd_allocate", []uint64{input, max64, 0}, ebadf, 0},
		{"fd_allocate", []uint64{file, max64, 0}, fbig, 0},
		{"fd_allocate", []uint64{file, 0, 0}, einval, 0},
		{"fd_allocate", []uint64{file, 4, 6}, 0, 0},
		{"fd_allocate", []uint64{file, 4, 11}, 0, 2},
		{"fd_close", []uint64{closed}, ebadf, 0},
		{"fd_fdstat_get", []uint64{closed, outside}, ebadf, 0},
		{"fd_fdstat_get", []uint64{file, outside}, efault, 0},
		{"fd_filestat_set_size", []uint64{input, max64}, ebadf, 0},
		{"fd_filestat_set_size", []uint64{file, max64}, fbig, 0},
		{"fd_filestat_set_size", []uint64{file, 13}, 0, 1},
		{"fd_filestat_set_times", []uint64{stdout, 0, 0, 12}, einval, 0},
		{"fd_filestat_set_times", []uint64{input, 0, 0, 12}, erofs, 0},
		{"fd_filestat_set_times", []uint64{file, 0, 0, 12}, einval, 0},
		{"fd_pread", []uint64{written, outside, 1, max64, 0}, ebadf, 0},
		{"fd_pread", []uint64{file, outside, 1, max64, 0}, einval, 0},
		{"fd_pread", []uint64{file, outside, 1025, 0, 0}, einval, 0},
		{"fd_pread", []uint64{file, outside, 1, 0, 0}, efault, 0},
		{"fd_pread", []uint64{file, huge, 2, 0, 0}, einval, 0},
		{"fd_pread", []uint64{file, badList, 1, 0, 0}, efault, 2},
		{"fd_pread", []uint64{file, badList, 1, 10, 0}, 0, 0}, // at the end nothing is written
		{"fd_pread", []uint64{file, longer, 2, 0, 0}, efault, 2 + 1},
		{"fd_pread", []uint64{file, list, 1, 0, outside}, efault, 2},
		{"fd_prestat_get", []uint64{dir, outside}, ebadf, 0},
		{"fd_prestat_dir_name", []uint64{3, outside, 0}, nametoolong, 0},
		{"fd_pwrite", []uint64{input, outside, 1, max64, 0}, ebadf, 0},
		{"fd_pwrite", []uint64{file, outside, 1, max64, 0}, fbig, 0},
		{"fd_pwrite", []uint64{file, longer, 2, 0, 0}, efault, 0},
		{"fd_pwrite", []uint64{file, list, 1, 18, 0}, 0, 2 + 2},
		{"fd_pwrite", []uint64{file, list, 1, 1 << 40, 0}, fbig, 2 + (1<<40-10+3)/4},
		{"fd_read", []uint64{dir, outside, 1, 0}, eisdir, 0},
		{"fd_read", []uint64{stdout, outside, 1, 0}, ebadf, 0},
		{"fd_read", []uint64{written, outside, 1, 0}, ebadf, 0},
		{"fd_readdir", []uint64{file, outside, 10, 0, 0}, enotdir, 0},
		{"fd_readdir", []uint64{3, outside, 10, 0, 0}, efault, 3*gw1.FuelPerDirEntry + 3},
		{"fd_readdir", []uint64{3, 5000, 0, 0, outside}, efault, 3 * gw1.FuelPerDirEntry},
		{"fd_readdir", []uint64{3, 5000, 10, 99, 40}, 0, 3 * gw1.FuelPerDirEntry},
		{"fd_renumber", []uint64{file, closed}, ebadf, 0},
		{"fd_seek", []uint64{stdout, 0, 9, 0}, spipe, 0},
		{"fd_seek", []uint64{file, 0, 3, 0}, einval, 0},
		{"fd_seek", []uint64{file, math.MaxInt64, 2, 0}, einval, 0},
		{"fd_write", []uint64{stdin, outside, 1, 0}, ebadf, 0},
		{"fd_write", []uint64{dir, outside, 1, 0}, ebadf, 0},
		{"fd_write", []uint64{stdout, longer, 2, 0}, efault, 0},
		{"fd_write", []uint64{stdout, list, 1, outside}, efault, 2},
		{"path_create_directory", []uint64{file, outside, 9999}, enotdir, path},
		{"path_create_directory", []uint64{closed, outside, 9999}, ebadf, path},
		{"path_create_directory", []uint64{3, outside, 9999}, nametoolong, path},
		{"path_create_directory", []uint64{3, outside, 3}, efault, path},
		{"path_create_directory", []uint64{3, a, 0}, enoent, path},
		{"path_create_directory", []uint64{3, abs, 5}, enotcapable, path + 2},
		{"path_create_directory", []uint64{3, up, 4}, enotcapable, path + 1},
		{"path_create_directory", []uint64{3, nothing, 6}, enoent, path + 2},
		{"path_create_directory", []uint64{3, a, 4}, eexist, path + 1},
		{"path_create_directory", []uint64{3, nothing, 4}, erofs, path + 1},
		{"path_filestat_get", []uint64{3, 0, a, 4, outside}, efault, path + 1},
		{"path_filestat_set_times", []uint64{3, 0, a, 4, 0, 0, 12}, erofs, path + 1},
		{"path_link", []uint64{closed, 0, outside, 9, closed, outside, 9}, enotsup, 0},
		{"path_open", []uint64{3, 0, nothing, 4, directory, 0, 0, 0, outside}, enoent, path + 1},
		{"path_open", []uint64{3, 0, nothing, 4, create | directory, 0, 0, 0, outside}, einval, path + 1},
		{"path_open", []uint64{3, 0, nothing, 4, create, 0, 0, 0, outside}, erofs, path + 1},
		{"path_open", []uint64{3, 0, a, 4, create | excl | trunc, 0, 0, 0, outside}, eexist, path + 1},
		{"path_open", []uint64{3, 0, a, 4, directory | trunc, 0, 0, 0, outside}, enotdir, path + 1},
		{"path_open", []uint64{3, 0, a, 2, trunc, 0, 0, 0, outside}, eisdir, path + 1},
		{"path_open", []uint64{3, 0, a, 2, 0, writing, 0, 0, outside}, eisdir, path + 1},
		{"path_open", []uint64{3, 0, a, 2, 0, reading | writing, 0, 0, 40}, 0, path + 1},
		{"path_open", []uint64{3, 0, newFile, 7, create, 0, 0, 0, outside}, efault, path + 2},
		{"path_readlink", []uint64{3, nothing, 4, outside, 9, outside}, enoent, path + 1},
		{"path_readlink", []uint64{3, a, 4, outside, 9, outside}, einval, path + 1},
		{"path_remove_directory", []uint64{3, a, 4}, enotdir, path + 1},
		{"path_remove_directory", []uint64{3, a, 2}, erofs, path + 1},
		{"path_remove_directory", []uint64{3, newFile, 3}, erofs, path + 1},
		{"path_unlink_file", []uint64{3, a, 4}, erofs, path + 1},
		{"path_unlink_file", []uint64{3, newFile, 3}, erofs, path + 1},
		{"path_unlink_file", []uint64{3, tmpFile, 8}, 0, path + 2},
		// Two files and nothing else were made by the program.
		{"path_rename", []uint64{3, nothing, 4, closed, outside, 9}, enoent, path + 1},
		{"path_rename", []uint64{3, tmpFile, 8, closed, outside, 9}, ebadf, 2*path + 2},
		{"path_rename", []uint64{3, tmpFile, 8, 3, nothing, 4}, erofs, 2*path + 2 + 1 + 2*gw1.FuelPerDirEntry},
		{"path_rename", []uint64{3, tmpFile, 8, 3, newFile, 7}, 0, 2*path + 2 + 2 + 2*gw1.FuelPerDirEntry},
		{"path_symlink", []uint64{outside, 9, closed, outside, 9}, enotsup, 0},
		{"poll_oneoff", []uint64{outside, 0, 0, 0}, einval, 0},
		{"poll_oneoff", []uint64{outside, 0, 4097, 0}, einval, 0},
		{"poll_oneoff", []uint64{outside, 0, 2, 0}, efault, 2 * gw1.FuelPerDirEntry},
		{"proc_raise", []uint64{9}, enotsup, 0},
		{"random_get", []uint64{outside, 9}, efault, 0},
		{"random_get", []uint64{40, 9}, 0, 3},
		{"sched_yield", nil, 0, 0},
		{"sock_recv", []uint64{closed, 0, 0, 0, 0, 0}, enotsup, 0},
	} {
		b := &budget{plenty}
		config := world()
		config.Args, config.OutputCap, config.Fuel = []string{"args"}, math.MaxInt64, b
		config.Files = []gw1.HostFile{{Path: "in/a", File: text("A")}}
		g := newGuest(t, config)
		g.open("out", directory, reading)
		g.open("out/file", create, reading|writing)
		g.write(file, "0123456789")
		g.open("in/a", 0, reading)
		g.open("tmp/file", create, writing)
		buffers := func(at int, pairs ...uint32) {
			for i, v := range pairs {
				binary.LittleEndian.PutUint32(g.m[at+4*i:], v)
			}
		}
		buffers(list, 5000, 8)
		buffers(badList, outside, 8)
		buffers(longer, 5000, 8, outside, 8)
		buffers(huge, 0, 1<<31, 0, 1<<31)
		for at, p := range paths {
			copy(g.m[at:], p)
		}
		before := b.left
		errno := g.call(c.call, c.args...)
		if fuel := before - b.left - gw1.FuelPerHostCall; errno != c.errno || fuel != c.fuel {
			t.Errorf("%s %v: errno %d for %d fuel, want %d for %d", c.call, c.args, errno, fuel, c.errno, c.fuel)
		}
	}
}
