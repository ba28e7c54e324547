package gw1

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"unicode/utf8"
)

// Memory is the linear memory of the running module. wazero's api.Memory is one. Both methods report false,
// and do nothing, if the range is not inside the memory.
type Memory interface {
	// Read returns n bytes at offset; the host only reads them, before anything else happens.
	Read(offset, n uint32) ([]byte, bool)
	Write(offset uint32, b []byte) bool
}

// File is content that the host reads at will. A read error other than io.EOF ends the run with Stop{StopHost}.
type File struct {
	ReaderAt io.ReaderAt
	Size     int64 // bytes
}

// HostFile is a read-only input of the program.
type HostFile struct {
	Path string // relative, with slashes: "in/a.txt"
	File File
}

// Fuel is charged by host calls. Charge takes n and reports whether that much was left; an adapter over a
// rewritten module subtracts from its fuel global.
type Fuel interface{ Charge(n uint64) bool }

// HostConfig is everything that a program can observe. The zero value is an empty world.
type HostConfig struct {
	Args, Env []string // Env as KEY=VALUE
	Stdin     File     // empty if ReaderAt is nil
	Files     []HostFile

	// OutputDirs are the directories that the program may write to, names without slashes; nil means "out"
	// and "tmp". What is left in them is output, except in "tmp".
	OutputDirs []string

	OutputCap  uint64   // bytes of stdout, stderr and output files together; more ends the run
	ScratchCap uint64   // bytes of files in tmp, more is ENOSPC; 0 means DefaultScratchCap
	MaxFiles   int      // files and directories that the program may create, more is ENOSPC; 0 means DefaultMaxFiles
	Seed       [32]byte // of random_get
	Fuel       Fuel     // nil: nothing is charged
}

// Defaults and bounds of HostConfig.
const (
	DefaultScratchCap = 64 << 20
	DefaultMaxFiles   = 1024

	MaxArgumentBytes = 1 << 20 // arguments, or environment, with their terminators
	MaxInputFiles    = 1 << 20
	MaxOpenFiles     = 1024 // descriptors
	maxPathBytes     = 4096
	maxNameBytes     = 255
	maxVectors       = 1024 // buffers of one read or write
	maxSubscriptions = 4096 // of one poll
)

// Exit ends a run by proc_exit: Call panics with it and the adapter recovers it. It is an error, so that
// engines which turn panics into errors keep it.
type Exit struct{ Code uint32 }

func (e *Exit) Error() string { return fmt.Sprintf("the program exited with code %d", e.Code) }

// StopReason says why the host ended a run.
type StopReason uint8

const (
	StopFuel   StopReason = iota + 1 // a host call cost more fuel than was left
	StopOutput                       // OutputCap was reached
	StopHost                         // an input could not be read: no result of the program
)

// Stop ends a run by the host: Call panics with it, as with Exit.
type Stop struct {
	Reason StopReason
	Err    error // of StopHost
}

func (s *Stop) Error() string {
	switch s.Reason {
	case StopFuel:
		return "the program ran out of fuel in a host call"
	case StopOutput:
		return "the program reached its output cap"
	}
	return fmt.Sprintf("an input of the program could not be read: %v", s.Err)
}

// Unwrap gives the read error of StopHost.
func (s *Stop) Unwrap() error { return s.Err }

// Host answers the WASI calls of one run. It is used by one goroutine at a time and keeps no resources.
type Host struct {
	c      HostConfig
	random *rand.ChaCha8
	clock  uint64 // realtime, nanoseconds

	root    *node
	fds     []*descriptor // by number, nil if closed
	inodes  uint64
	created int // nodes that the program created and that still exist
	stdout  []byte
	stderr  []byte
	output  uint64 // bytes counted against OutputCap
	scratch uint64 // bytes counted against ScratchCap
}

// The virtual clock: realtime begins at clockEpoch, monotonic time at clockStep, and every look advances both.
const (
	clockEpoch = 1_700_000_000_000_000_000 // nanoseconds since 1970
	clockStep  = 1_000                     // nanoseconds
)

// NewHost checks the configuration and builds the world of one run.
func NewHost(c HostConfig) (*Host, error) {
	if c.OutputDirs == nil {
		c.OutputDirs = []string{"out", scratchDir}
	}
	if c.ScratchCap == 0 {
		c.ScratchCap = DefaultScratchCap
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = DefaultMaxFiles
	}
	if err := checkStrings("argument", c.Args); err != nil {
		return nil, err
	}
	if err := checkStrings("environment variable", c.Env); err != nil {
		return nil, err
	}
	h := &Host{c: c, random: rand.NewChaCha8(c.Seed), clock: clockEpoch}
	if err := h.buildTree(); err != nil {
		return nil, err
	}
	stdin := &node{inode: h.nextInode(), input: c.Stdin, mtime: clockEpoch}
	h.fds = []*descriptor{
		{kind: fdFile, node: stdin, read: true},
		{kind: fdStdout, write: true},
		{kind: fdStderr, write: true},
		{kind: fdDir, node: h.root},
	}
	return h, nil
}

// checkStrings refuses what a C string cannot carry.
func checkStrings(what string, list []string) error {
	total := 0
	for i, s := range list {
		total += len(s) + 1
		switch {
		case strings.IndexByte(s, 0) >= 0:
			return fmt.Errorf("%s %d contains a zero byte", what, i)
		case !utf8.ValidString(s):
			return fmt.Errorf("%s %d is not UTF-8", what, i)
		}
	}
	if total > MaxArgumentBytes {
		return fmt.Errorf("%ss of %d bytes together: at most %d are allowed, put data into a file", what, total, MaxArgumentBytes)
	}
	return nil
}

// buildTree places the input files and the output directories.
func (h *Host) buildTree() error {
	h.root = h.newDir(nil, "", areaInput)
	for _, name := range h.c.OutputDirs {
		if strings.Contains(name, "/") || checkName(name) != errnoSuccess {
			return fmt.Errorf("output directory %q: must be a plain name", name)
		}
		if h.root.children[name] != nil {
			return fmt.Errorf("output directory %q is given twice", name)
		}
		area := areaOutput
		if name == scratchDir {
			area = areaScratch
		}
		h.newDir(h.root, name, area)
	}
	if len(h.c.Files) > MaxInputFiles {
		return fmt.Errorf("%d input files: at most %d are allowed", len(h.c.Files), MaxInputFiles)
	}
	for _, f := range h.c.Files {
		if err := h.placeInput(f); err != nil {
			return fmt.Errorf("input file %q: %w", f.Path, err)
		}
	}
	return nil
}

func (h *Host) placeInput(f HostFile) error {
	if f.File.Size < 0 || f.File.Size > 0 && f.File.ReaderAt == nil {
		return errors.New("has no content")
	}
	if len(f.Path) > maxPathBytes {
		return fmt.Errorf("the path has more than %d bytes", maxPathBytes)
	}
	dir := h.root
	names := strings.Split(f.Path, "/")
	for i, name := range names {
		if checkName(name) != errnoSuccess {
			return errors.New("must be a relative path with slashes, without empty, . or .. parts")
		}
		next := dir.children[name]
		if i == len(names)-1 {
			if next != nil {
				return errors.New("another file or directory has this path")
			}
			h.newFile(dir, name, areaInput).input = f.File
			break
		}
		if next == nil {
			next = h.newDir(dir, name, areaInput)
		}
		if next.children == nil {
			return fmt.Errorf("%q on its way is a file", name)
		}
		if next.area != areaInput {
			return fmt.Errorf("lies in the output directory %q", name)
		}
		dir = next
	}
	return nil
}

// Stdout returns what the program wrote to descriptor 1; the caller must not change it while the run goes on.
func (h *Host) Stdout() []byte { return h.stdout }

// Stderr returns what the program wrote to descriptor 2.
func (h *Host) Stderr() []byte { return h.stderr }

// OutFile is a file that the program left in an output directory.
type OutFile struct {
	Path  string // from the root, as "out/a.json"
	Bytes []byte
}

// OutputFiles returns the files in the output directories except tmp, sorted by path.
func (h *Host) OutputFiles() []OutFile {
	var list []OutFile
	for _, name := range h.root.sortedNames() {
		if n := h.root.children[name]; n.area == areaOutput {
			list = n.collect(name, list)
		}
	}
	sortOutFiles(list)
	return list
}
