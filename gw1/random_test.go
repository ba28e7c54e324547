package gw1_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"github.com/tetratelabs/wazero/api"
)

// Random valid modules come from binaryen: wasm-opt translates random bytes into a module.

// fuzzFeatures are those of WebAssembly 2.0, in binaryen's words, but for references: it would use typed ones.
var fuzzFeatures = []string{"--enable-simd", "--enable-bulk-memory", "--enable-nontrapping-float-to-int", "--enable-sign-ext",
	"--enable-multivalue", "--enable-mutable-globals"}

// fuzzLog replaces the functions that such modules import: what they are given is mixed into a global.
const fuzzLog = `
 (global $gw1_log (mut i64) (i64.const 7))
 (func $log-i64 (param $x i64)
  (global.set $gw1_log (i64.mul (i64.xor (i64.rotl (global.get $gw1_log) (i64.const 9)) (local.get $x)) (i64.const -7046029254386353131))))
 (func $log-i32 (param i32) (call $log-i64 (i64.extend_i32_s (local.get 0))))
 (func $log-f32 (param f32) (call $log-i32 (i32.reinterpret_f32 (local.get 0))))
 (func $log-f64 (param f64) (call $log-i64 (i64.reinterpret_f64 (local.get 0))))
 (func $log-v128 (param v128) (call $log-i64 (i64x2.extract_lane 0 (local.get 0))) (call $log-i64 (i64x2.extract_lane 1 (local.get 0))))
`

var fuzzImport = regexp.MustCompile(`(?m)^ \(import "fuzzing-support" .*\n`)

// fuzzModule makes a module from a seed, sometimes an optimised one. Binaryen cannot read back all that it
// writes as text, nor optimise all that it makes: then the next seed is taken.
func fuzzModule(t testing.TB, seed uint64) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	var out []byte
	var err error
	tool := func(name string, args ...string) bool {
		out, err = exec.Command(name, append(args, fuzzFeatures...)...).CombinedOutput()
		return err == nil
	}
	for range 20 {
		input := make([]byte, 1000+r.IntN(20_000))
		for i := range input {
			input[i] = byte(r.Uint32())
		}
		writeFile(t, path("seed"), input)
		if !tool("wasm-opt", path("seed"), "-ttf", "-S", "-o", path("m.wat")) {
			continue
		}
		if level := []string{"", "-O1", "-O3"}[r.IntN(3)]; level != "" && !tool("wasm-opt", level, path("m.wat"), "-S", "-o", path("m.wat")) {
			continue
		}
		if namesActiveData(string(readFile(t, path("m.wat")))) {
			continue
		}
		text := strings.TrimSpace(fuzzImport.ReplaceAllString(string(readFile(t, path("m.wat"))), ""))
		writeFile(t, path("m.wat"), []byte(strings.TrimSuffix(text, ")")+fuzzLog+")\n"))
		if tool("wasm-as", path("m.wat"), "-o", path("m.wasm")) {
			return readFile(t, path("m.wasm"))
		}
	}
	t.Fatalf("wasm-opt and wasm-as, of Debian's binaryen, which make deps installs, make no module: %v\n%.1000s", err, out)
	return nil
}

var (
	fuzzData = regexp.MustCompile(`(?m)^ \(data (\(i32.const)?`)
	fuzzInit = regexp.MustCompile(`\(memory.init (\d+)`)
)

// namesActiveData reports whether a module copies from an active data segment. It must find it empty, but the
// engine forgets to empty it, so that the module as it is cannot be compared.
func namesActiveData(text string) bool {
	segments := fuzzData.FindAllStringSubmatch(text, -1)
	for _, m := range fuzzInit.FindAllStringSubmatch(text, -1) {
		if i, err := strconv.Atoi(m[1]); err != nil || i >= len(segments) || segments[i][1] != "" {
			return true
		}
	}
	return false
}

// fuzzForms are the ways to run a module: as it is; rewritten with the engine's own NaNs, which must change
// nothing; and three that must agree to the bit.
var fuzzForms = []struct {
	what        string
	interpreted bool
	o           *gw1.Options
	like        int // the form that it must agree with
}{
	{"as it is", false, nil, 0},
	{"own NaNs", false, &gw1.Options{NaN: gw1.NaNOff}, 0},
	{"lazy", false, &gw1.Options{}, 2},
	{"plain", false, &gw1.Options{NaN: gw1.NaNPlain}, 2},
	{"interpreted", true, &gw1.Options{}, 2},
}

// fuzzCall is what a call shows: results, whether it trapped, and the fuel left.
type fuzzCall struct {
	results []uint64
	trapped bool
	fuel    int64
}

// checkRandomModule runs all exports of a random module in all forms. It returns how many calls came to an end.
func checkRandomModule(t testing.TB, seed uint64) (returned int) {
	t.Helper()
	engines := []*engine{compiler(t), interpreter(t)}
	wasm, ok := withStart(fuzzModule(t, seed))
	if !ok {
		t.Fatalf("seed %d: cannot add a function to the module", seed)
	}
	var all [][]fuzzCall
	var memories [][]byte
	var globals [][]uint64
	for _, form := range fuzzForms {
		i, e, binary := &specInstance{what: form.what}, engines[0], wasm
		if form.interpreted {
			e = engines[1]
		}
		if form.o != nil {
			var err error
			if i.rewrote, err = gw1.Rewrite(wasm, *form.o); err != nil {
				t.Fatalf("seed %d: a valid module is refused: %v", seed, err)
			}
			checkSecondWalk(t, wasm, *form.o, i.rewrote)
			binary = i.rewrote.Binary
		}
		if i.start(t, "random module", e, binary); i.m == nil || i.trapped != nil {
			t.Fatalf("seed %d, %s: does not start: %v", seed, form.what, i.trapped)
		}
		all = append(all, i.callExports(seed))
		if m := i.m.Memory(); m != nil {
			view, _ := m.Read(0, m.Size())
			memories = append(memories, slices.Clone(view))
		}
		var values []uint64
		if i.rewrote != nil {
			for _, g := range i.rewrote.MutableGlobals {
				values = append(values, i.m.ExportedGlobal(g.Name).Get())
			}
		}
		globals = append(globals, values)
	}
	for n, form := range fuzzForms {
		like := fuzzForms[form.like].what
		for k, c := range all[n] {
			want := all[form.like][k]
			if form.like == 0 {
				want.fuel = c.fuel
			}
			if !reflect.DeepEqual(c, want) {
				t.Errorf("seed %d, %s: call %d: %+v, want as %s %+v", seed, form.what, k, c, like, want)
			}
		}
		if len(memories) > 0 && !bytes.Equal(memories[n], memories[form.like]) {
			t.Errorf("seed %d: memory differs between %s and %s", seed, form.what, like)
		}
		if form.like > 0 && !reflect.DeepEqual(globals[n], globals[form.like]) {
			t.Errorf("seed %d: globals differ between %s and %s", seed, form.what, like)
		}
	}
	for _, c := range all[0] {
		if !c.trapped {
			returned++
		}
	}
	return returned
}

// callExports calls every exported function with arguments drawn from the seed.
func (i *specInstance) callExports(seed uint64) []fuzzCall {
	r := rand.New(rand.NewPCG(seed, 3))
	functions := i.m.ExportedFunctionDefinitions()
	var names []string
	for name := range functions {
		if name != "_start" && name != "hangLimitInitializer" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var calls []fuzzCall
	for _, name := range names {
		i.do(action{Type: "invoke", Field: "hangLimitInitializer"})
		i.refill()
		f := i.m.ExportedFunction(name)
		got, err := f.Call(testContext, fuzzArguments(r, functions[name].ParamTypes())...)
		c := fuzzCall{trapped: err != nil}
		if err == nil {
			c.results = seen(got, functions[name].ResultTypes())
		}
		if i.rewrote != nil {
			c.fuel = int64(i.m.ExportedGlobal(i.rewrote.GlobalFuel).Get())
		}
		calls = append(calls, c)
	}
	return calls
}

func fuzzArguments(r *rand.Rand, types []api.ValueType) (args []uint64) {
	word64 := func() uint64 { return nanBits64[r.IntN(len(nanBits64))] }
	for _, t := range types {
		switch t {
		case api.ValueTypeI32:
			args = append(args, uint64(uint32(r.IntN(200)-100)))
		case api.ValueTypeF32:
			args = append(args, uint64(nanBits32[r.IntN(len(nanBits32))]))
		case api.ValueTypeI64, api.ValueTypeF64:
			args = append(args, word64())
		case v128:
			args = append(args, word64(), word64())
		default:
			args = append(args, 0)
		}
	}
	return args
}

// seen keeps of results what the types say: of references whether they are null, of 32 bits no more.
func seen(results []uint64, types []api.ValueType) []uint64 {
	kept := []uint64{}
	for _, t := range types {
		v := results[0]
		results = results[1:]
		switch t {
		case v128:
			kept = append(kept, v)
			v, results = results[0], results[1:]
		case api.ValueTypeI32, api.ValueTypeF32:
			v = uint64(uint32(v))
		case funcref, api.ValueTypeExternref:
			v = min(v, 1)
		}
		kept = append(kept, v)
	}
	return kept
}

// A fixed set of random modules; make fuzz goes on.
func TestRandomModules(t *testing.T) {
	t.Parallel()
	returned := 0
	for seed := range uint64(100) {
		returned += checkRandomModule(t, seed)
	}
	if returned < 1000 {
		t.Errorf("only %d calls came to an end", returned)
	}
}

// FuzzRandomModules goes through more random modules than TestRandomModules.
func FuzzRandomModules(f *testing.F) {
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) { checkRandomModule(t, seed) })
}

// FuzzBytes gives binary modules that come from strangers to the rewriter: valid ones with some bytes changed.
// Whatever is accepted, the engine must accept when it is rewritten.
func FuzzBytes(f *testing.F) {
	whole := readFile(f, "testdata/cprog.wasm")
	f.Add(uint32(20), []byte{0x0b, 0, 1})
	f.Add(uint32(len(whole)/2), []byte{0xff, 0xff})
	for seed := range uint64(4) {
		var at [4]byte
		binary.LittleEndian.PutUint32(at[:], uint32(seed*0x9e3779b9))
		f.Add(binary.LittleEndian.Uint32(at[:])%uint32(len(whole)), at[:])
	}
	e := interpreter(f)
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		wasm := slices.Clone(whole)
		copy(wasm[int(at)%len(wasm):], patch)
		m, err := gw1.Rewrite(wasm, gw1.Options{})
		if err != nil {
			return
		}
		c, err := e.runtime.CompileModule(t.Context(), m.Binary)
		if err != nil {
			t.Fatalf("accepted, but the result is not valid: %v", err)
		}
		c.Close(t.Context())
	})
}
