package wasm

import (
	"encoding/binary"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

// Parent and worker speak in frames: a u32 length, big-endian, and that many
// canonical bytes of package work. Descriptors travel beside the first bytes of
// the frame that uses them. The worker answers requests in their order; behind
// an answer's frame come the output's bytes as they are.

// Bounds of frames; a peer that is over them is broken.
const (
	maxRequestBytes  = 64 << 20
	maxResponseBytes = 16 << 20 // without the output's bytes
	maxInlineBytes   = 256 << 10
	maxFrameText     = 4 << 10
)

// hello is the first frame: what the worker is for.
type hello struct {
	dir     string // the program's folder in the cache
	prepare bool   // rewrite and compile the module of the one descriptor, then end
	module  uint64 // bytes of that module
	memory  uint64 // most linear memory of an item
	output  uint64 // output bytes that the worker's own memory allows for
	data    uint64 // RLIMIT_DATA while the program is prepared or loaded
}

func (h *hello) encode() []byte {
	var e work.Encoder
	e.String(h.dir)
	e.Bool(h.prepare)
	e.U64(h.module)
	e.U64(h.memory)
	e.U64(h.output)
	e.U64(h.data)
	return e.Bytes()
}

func decodeHello(b []byte) (hello, error) {
	d := work.NewDecoder(b)
	h := hello{d.String(4 << 10), d.Bool(), d.U64(), d.U64(), d.U64(), d.U64()}
	return h, d.Done()
}

// readyKind is how a worker answers hello.
type readyKind uint8

const (
	readyOK      readyKind = iota // run: waits for requests; prepare: done
	readyRefused                  // the profile refuses the module; text is the reason
	readyCorrupt                  // the cache is damaged: remove it and prepare again
	readyFailed                   // the host failed; text says how
)

// ready is the worker's first frame.
type ready struct {
	kind      readyKind
	text      string
	sandbox   string // what the kernel gave, for people
	memoryMin uint64 // bytes that the module needs to start
	dataBytes uint64 // RLIMIT_DATA of a worker that waits for requests
}

func (r *ready) encode() []byte {
	var e work.Encoder
	e.U8(uint8(r.kind))
	e.String(clip(r.text))
	e.String(clip(r.sandbox))
	e.U64(r.memoryMin)
	e.U64(r.dataBytes)
	return e.Bytes()
}

func decodeReady(b []byte) (ready, error) {
	d := work.NewDecoder(b)
	r := ready{readyKind(d.U8()), d.String(maxFrameText), d.String(maxFrameText), d.U64(), d.U64()}
	return r, d.Done()
}

// input is content of an item: its bytes, or the next descriptor.
type input struct {
	path   string
	size   uint64
	inline bool
	bytes  []byte
}

// request is one item to run.
type request struct {
	began  bool   // false: the base charges exceed the fuel, nothing runs
	fuel   uint64 // that the run may use: the limit less the base charges
	memory uint64
	output uint64
	seed   [32]byte
	args   []string // with the program's name
	env    []string
	stdin  input
	files  []input
}

func (r *request) encode(e *work.Encoder) {
	e.Bool(r.began)
	e.U64(r.fuel)
	e.U64(r.memory)
	e.U64(r.output)
	e.Raw(r.seed[:])
	e.Strings(r.args)
	e.Strings(r.env)
	r.stdin.encode(e)
	e.U32(uint32(len(r.files)))
	for i := range r.files {
		e.String(r.files[i].path)
		r.files[i].encode(e)
	}
}

func (in *input) encode(e *work.Encoder) {
	e.U64(in.size)
	e.Bool(in.inline)
	if in.inline {
		e.ByteString(in.bytes)
	}
}

func decodeRequest(b []byte) (*request, error) {
	d := work.NewDecoder(b)
	r := &request{began: d.Bool(), fuel: d.U64(), memory: d.U64(), output: d.U64()}
	copy(r.seed[:], d.Raw(len(r.seed)))
	r.args = d.Strings(work.MaxArgs+1, work.MaxArgBytes)
	r.env = d.Strings(work.MaxArgs, work.MaxArgBytes)
	r.stdin = decodeInput(d)
	if n := d.Count(work.MaxFiles, 4+8+1); n > 0 {
		r.files = make([]input, n)
		for i := range r.files {
			path := d.String(work.MaxPathBytes)
			r.files[i] = decodeInput(d)
			r.files[i].path = path
		}
	}
	return r, d.Done()
}

func decodeInput(d *work.Decoder) input {
	in := input{size: d.U64(), inline: d.Bool()}
	if in.inline {
		in.bytes = d.ByteString(maxRequestBytes)
	}
	return in
}

// response is what a request gave: a fault of the host, or a result.
type response struct {
	fault   string // not empty: the host failed
	refused string // not empty: the item is not one that the profile runs
	retire  bool   // the worker asks to be replaced
	outcome work.Outcome
	fuel    uint64 // used by the run, without base, output and digest charges
	blocks  uint64 // 4 KiB blocks digested
	memory  work.Hash
	stdout  []byte
	stderr  []byte
	files   []gw1.OutFile
}

// encode gives the frame without the output's bytes.
func (r *response) encode(e *work.Encoder) {
	e.String(clip(r.fault))
	e.String(clip(r.refused))
	e.Bool(r.retire)
	if r.fault != "" || r.refused != "" {
		return
	}
	e.U8(uint8(r.outcome.Kind))
	e.U32(r.outcome.Code)
	e.U64(r.fuel)
	e.U64(r.blocks)
	e.Hash(r.memory)
	e.U64(uint64(len(r.stdout)))
	e.U64(uint64(len(r.stderr)))
	e.U32(uint32(len(r.files)))
	for _, f := range r.files {
		e.String(f.Path)
		e.U64(uint64(len(f.Bytes)))
	}
}

// decodeResponse reads a frame and says how many output bytes follow; place
// puts them where they belong.
func decodeResponse(b []byte) (r *response, sizes []uint64, err error) {
	d := work.NewDecoder(b)
	r = &response{fault: d.String(maxFrameText), refused: d.String(maxFrameText), retire: d.Bool()}
	if r.fault != "" || r.refused != "" {
		return r, nil, d.Done()
	}
	r.outcome = work.Outcome{Kind: work.OutcomeKind(d.U8()), Code: d.U32()}
	r.fuel, r.blocks, r.memory = d.U64(), d.U64(), d.Hash()
	sizes = append(sizes, d.U64(), d.U64())
	for range d.Count(1<<20, 4+8) {
		r.files = append(r.files, gw1.OutFile{Path: d.String(64 << 10)})
		sizes = append(sizes, d.U64())
	}
	if err := d.Done(); err != nil {
		return nil, nil, err
	}
	if r.outcome.Kind < work.Exited || r.outcome.Kind > work.OutputCapped {
		return nil, nil, fmt.Errorf("%w: unknown outcome", work.ErrMalformed)
	}
	return r, sizes, nil
}

// place cuts the output's bytes by sizes.
func (r *response) place(payload []byte, sizes []uint64) {
	next := func(n uint64) []byte {
		b := payload[:n:n]
		payload = payload[n:]
		return b
	}
	r.stdout, r.stderr = next(sizes[0]), next(sizes[1])
	for i := range r.files {
		r.files[i].Bytes = next(sizes[2+i])
	}
}

// frame puts the length in front of what encode writes.
func frame(encode func(e *work.Encoder)) []byte {
	var e work.Encoder
	e.U32(0)
	encode(&e)
	b := e.Bytes()
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// clip bounds text that crosses the pipe.
func clip(s string) string {
	if len(s) > maxFrameText {
		return s[:maxFrameText]
	}
	return s
}

// encodeModule gives the bytes of a rewritten module's file in the cache.
func encodeModule(m *gw1.Module) []byte {
	var e work.Encoder
	e.String("gotong/rewritten/1")
	e.String(gw1.Version)
	e.U64(m.MemoryMin)
	e.U64(m.MemoryMax)
	e.Strings([]string{m.GlobalFuel, m.GlobalDepth, m.GlobalTrap})
	e.U32(uint32(len(m.MutableGlobals)))
	for _, g := range m.MutableGlobals {
		e.String(g.Name)
		e.U8(g.Type)
	}
	e.ByteString(m.Image)
	e.ByteString(m.Binary)
	return e.Bytes()
}

// decodeModule reads what encodeModule wrote; the result aliases b.
func decodeModule(b []byte) (*gw1.Module, error) {
	d := work.NewDecoder(b)
	if d.String(64) != "gotong/rewritten/1" || d.String(64) != gw1.Version {
		return nil, fmt.Errorf("%w: not a module rewritten by %s", work.ErrMalformed, gw1.Version)
	}
	m := &gw1.Module{MemoryMin: d.U64(), MemoryMax: d.U64()}
	if names := d.Strings(3, 256); len(names) == 3 {
		m.GlobalFuel, m.GlobalDepth, m.GlobalTrap = names[0], names[1], names[2]
	}
	for range d.Count(gw1.MaxGlobals, 4+1) {
		m.MutableGlobals = append(m.MutableGlobals, gw1.Global{Name: d.String(256), Type: api.ValueType(d.U8())})
	}
	m.Image = d.ByteString(gw1.MaxImageBytes)
	m.Binary = d.ByteString(1 << 30)
	if err := d.Done(); err != nil {
		return nil, err
	}
	if m.GlobalFuel == "" || m.GlobalTrap == "" {
		return nil, fmt.Errorf("%w: rewritten module without its fuel or trap global", work.ErrMalformed)
	}
	return m, nil
}
