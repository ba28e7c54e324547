//go:build linux && (amd64 || arm64)

package wasm

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// programName is argv[0] of every program.
const programName = "program"

// job is a task made ready for a worker.
type job struct {
	task    *runtime.Task
	program work.ProgramID
	input   work.Hash
	base    uint64 // fuel owed before the run begins
	frame   []byte
	files   []*os.File // inputs that travel as descriptors
}

func (j *job) close() { closeAll(j.files) }

// newJob reads or opens the task's inputs. The random seed of the run is
// Sum("gotong/random/1", program id ‖ input digest ‖ u64 job seed).
func newJob(t *runtime.Task, blobs runtime.Blobs) (*job, error) {
	j := &job{task: t, program: work.Program(t.Program, t.Profile)}
	j.input = t.Item.InputDigest(j.program, t.Limits, t.Seed)
	j.base = baseFuel(t.Item)
	r := request{memory: t.Limits.MemoryBytes, output: t.Limits.OutputBytes, env: t.Item.Env,
		args: append([]string{programName}, t.Item.Args...)}
	if r.began = j.base <= uint64(t.Limits.Fuel); r.began {
		r.fuel = uint64(t.Limits.Fuel) - j.base
	}
	var e work.Encoder
	e.U64(t.Seed)
	r.seed = work.Sum("gotong/random/1", j.program[:], j.input[:], e.Bytes())
	in := inputs{blobs: blobs}
	err := in.all(&r, t.Item)
	j.files = in.files
	if err != nil {
		j.close()
		return nil, err
	}
	j.frame = frame(r.encode)
	if len(j.frame) > maxRequestBytes {
		j.close()
		return nil, &runtime.Refused{Reason: fmt.Sprintf("arguments and environment of %d bytes: put data into a file", len(j.frame))}
	}
	return j, nil
}

// baseFuel is what an item owes before its first instruction: its start and its
// input bytes, which are the arguments without the program's name, the
// environment, stdin and the files. It saturates.
func baseFuel(it *work.Item) uint64 {
	n := it.Stdin.Size
	for _, s := range it.Args {
		n = addSat(n, uint64(len(s)))
	}
	for _, s := range it.Env {
		n = addSat(n, uint64(len(s)))
	}
	for _, f := range it.Files {
		n = addSat(n, f.Blob.Size)
	}
	return addSat(gw1.FuelPerItem, mulSat(n, gw1.FuelPerInputByte))
}

func addSat(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

func mulSat(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// inputs opens what an item is given.
type inputs struct {
	blobs  runtime.Blobs
	inline int // bytes in the frame so far
	files  []*os.File
}

func (in *inputs) all(r *request, it *work.Item) (err error) {
	if r.stdin, err = in.open(it.Stdin); err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	if len(it.Files) == 0 {
		return nil
	}
	r.files = make([]input, len(it.Files))
	for i, f := range it.Files {
		if r.files[i], err = in.open(f.Blob); err != nil {
			return fmt.Errorf("input file %q: %w", f.Path, err)
		}
		r.files[i].path = f.Path
	}
	return nil
}

// open puts small content into the frame and anything else behind a descriptor.
func (in *inputs) open(b work.BlobID) (input, error) {
	if b.Size == 0 {
		return input{}, nil
	}
	r, err := in.blobs.Open(b)
	if err != nil {
		if errors.Is(err, runtime.ErrBlobMissing) {
			return input{}, fmt.Errorf("%s: %w", b, err)
		}
		return input{}, &runtime.HostFault{Err: err}
	}
	defer r.Close()
	if b.Size <= maxInlineBytes && in.inline < maxRequestBytes/4 {
		content := make([]byte, b.Size)
		if n, err := r.ReadAt(content, 0); n < len(content) {
			return input{}, &runtime.HostFault{Err: fmt.Errorf("read blob %s: %w", b, err)}
		}
		in.inline += len(content)
		return input{size: b.Size, inline: true, bytes: content}, nil
	}
	f, err := asFile(r, b.Size)
	if err != nil {
		return input{}, &runtime.HostFault{Err: fmt.Errorf("open blob %s: %w", b, err)}
	}
	in.files = append(in.files, f)
	return input{size: b.Size}, nil
}

// asFile gives a blob as an open file: its own, or a copy in memory.
func asFile(r runtime.BlobReader, size uint64) (*os.File, error) {
	if p, ok := r.(runtime.Path); ok {
		return os.Open(p.Path())
	}
	f, err := memoryFile("blob")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, io.NewSectionReader(r, 0, int64(size))); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// finish makes a worker's response the result of the job.
func (j *job) finish(resp *response) (*runtime.Run, error) {
	if resp.refused != "" {
		return nil, &runtime.Refused{Reason: resp.refused}
	}
	run := &runtime.Run{Bytes: map[work.BlobID][]byte{}}
	size := uint64(0)
	keep := func(b []byte) work.BlobID {
		size = addSat(size, uint64(len(b)))
		id := work.BlobOf(b)
		if len(b) > 0 {
			run.Bytes[id] = b
		}
		return id
	}
	outcome := resp.outcome
	run.Output.Stdout, run.Output.Stderr = keep(resp.stdout), keep(resp.stderr)
	for _, f := range resp.files {
		if work.CheckPath(f.Path) != nil || len(run.Output.Files) == work.MaxFiles {
			outcome = work.Outcome{Kind: work.OutputCapped} // a name that a result cannot carry
			continue
		}
		run.Output.Files = append(run.Output.Files, work.File{Path: f.Path, Blob: keep(f.Bytes)})
	}
	fuel := addSat(addSat(j.base, resp.fuel), addSat(mulSat(size, gw1.FuelPerOutputByte), mulSat(resp.blocks, gw1.FuelPerDigestedBlock)))
	if limit := uint64(j.task.Limits.Fuel); fuel > limit || outcome.Kind == work.OutOfFuel {
		outcome, fuel = work.Outcome{Kind: work.OutOfFuel}, limit
	}
	run.Leaf = work.Leaf{Input: j.input, Output: run.Output.Digest(outcome), Outcome: outcome, Fuel: work.Fuel(fuel), Memory: resp.memory}
	return run, nil
}
