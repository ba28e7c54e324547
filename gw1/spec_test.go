package gw1_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// The core test suite of WebAssembly 2.0 comes with the engine's source, translated to modules and JSON. Every
// module that the profile takes must behave as the suite says, rewritten as well as not; every module that the
// suite calls invalid must be refused.

// script is a file of the suite.
type script struct {
	Commands []struct {
		Type     string      `json:"type"`
		Line     int         `json:"line"`
		Filename string      `json:"filename"`
		Name     string      `json:"name"`
		Text     string      `json:"text"`
		Action   action      `json:"action"`
		Expected []specValue `json:"expected"`
	} `json:"commands"`
}

type action struct {
	Type   string      `json:"type"`
	Module string      `json:"module"`
	Field  string      `json:"field"`
	Args   []specValue `json:"args"`
}

type specValue struct {
	Type     string          `json:"type"`
	LaneType string          `json:"lane_type"`
	Value    json.RawMessage `json:"value"`
}

// suiteDir is where the engine's module keeps the suite.
func suiteDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("finding the engine's source, which has the suite: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest", "v2", "testdata")
}

// outside lists why the profile refuses valid modules of the suite.
var outside = []string{
	"is provided",                // an import from elsewhere than WASI
	"only functions of wasi",     // an import of something else than a function
	"outside its table",          // its start would trap
	"outside the initial memory", // the same
}

// suite counts what was done.
type suite struct {
	modules, refused, calls, traps, invalid int
	reasons                                 map[string]int
}

func TestSpecSuite(t *testing.T) {
	t.Parallel()
	dir := suiteDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files of the suite in %s, want more than 100 (%v)", len(files), dir, err)
	}
	total := suite{reasons: map[string]int{}}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { total.file(t, file) })
	}
	t.Logf("%d modules, %d refused, %d calls, %d traps, %d invalid modules", total.modules, total.refused, total.calls, total.traps, total.invalid)
	for _, why := range slices.Sorted(maps.Keys(total.reasons)) {
		t.Logf("%4d refused: %s", total.reasons[why], why)
	}
	if total.calls < 40_000 || total.invalid < 1_500 {
		t.Errorf("%d calls and %d invalid modules were tested, want 40,000 and 1,500", total.calls, total.invalid)
	}
}

// subject is one module as it is and rewritten.
type subject struct {
	forms []*specInstance // as it is; lazy; plain; lazy on the interpreter
}

type specInstance struct {
	what    string
	rewrote *gw1.Module // nil: the module as it is
	m       api.Module
	trapped error // what its start ended with
}

func (s *suite) file(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f script
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	engines := []*engine{compiler(t), interpreter(t)}
	named := map[string]*subject{} // "" is the last
	for _, c := range f.Commands {
		where := fmt.Sprintf("%s:%d", strings.TrimSuffix(filepath.Base(path), ".json"), c.Line)
		read := func() []byte {
			wasm, err := os.ReadFile(filepath.Join(filepath.Dir(path), c.Filename))
			if err != nil {
				t.Fatal(err)
			}
			return wasm
		}
		switch c.Type {
		case "module":
			s.modules++
			current := s.module(t, where, engines, read())
			named[c.Name], named[""] = current, current
		case "assert_invalid", "assert_malformed":
			if strings.HasSuffix(c.Filename, ".wasm") {
				s.refuse(t, where, c.Text, read())
			}
		case "register":
			// Modules that follow may import it, which the profile refuses, and change it.
			if sub := named[c.Name]; sub != nil {
				sub.forms = nil
			}
		case "assert_uninstantiable":
			if sub := s.module(t, where, engines, read()); sub != nil && sub.forms[1].trapped == nil {
				t.Errorf("%s: started", where)
			}
		case "assert_return", "assert_trap", "assert_exhaustion", "action":
			if sub := named[c.Action.Module]; sub != nil && sub.forms != nil {
				s.act(t, where, sub, c.Type, c.Action, c.Expected)
			}
		}
	}
}

// refuse checks that an invalid module is refused, and not just because it is no command. What the suite calls
// unknown is sometimes the very function or type that the test adds.
func (s *suite) refuse(t *testing.T, where, why string, wasm []byte) {
	t.Helper()
	command, ok := withStart(wasm)
	if !ok {
		command = wasm
	}
	if _, err := gw1.Rewrite(command, gw1.Options{}); err == nil {
		if ok && (why == "unknown function" || why == "unknown type") {
			return
		}
		t.Errorf("%s: an invalid module is not refused: %s", where, why)
	}
	s.invalid++
}

// module rewrites and starts a module, or notes why not and returns nil.
func (s *suite) module(t *testing.T, where string, engines []*engine, wasm []byte) *subject {
	t.Helper()
	command, ok := withStart(wasm)
	if !ok {
		t.Errorf("%s: cannot add a function to the module", where)
		return nil
	}
	sub := &subject{}
	for _, form := range []struct {
		what   string
		engine *engine
		o      *gw1.Options
	}{
		{"as it is", engines[0], nil},
		{"lazy", engines[0], &gw1.Options{}},
		{"plain", engines[0], &gw1.Options{NaN: gw1.NaNPlain}},
		{"interpreted", engines[1], &gw1.Options{}},
	} {
		i := &specInstance{what: form.what}
		binary := command
		if form.o != nil {
			var err error
			if i.rewrote, err = gw1.Rewrite(command, *form.o); err != nil {
				s.refused++
				s.note(t, where, err)
				return nil
			}
			checkSecondWalk(t, command, *form.o, i.rewrote)
			binary = i.rewrote.Binary
		} else if _, err := gw1.Rewrite(command, gw1.Options{}); err != nil {
			s.refused++
			s.note(t, where, err)
			return nil
		}
		if i.start(t, where, form.engine, binary); i.m == nil && i.rewrote != nil {
			return nil
		}
		sub.forms = append(sub.forms, i)
	}
	return sub
}

func (s *suite) note(t *testing.T, where string, err error) {
	t.Helper()
	var refusal *gw1.Refusal
	if errors.As(err, &refusal) {
		for _, why := range outside {
			if strings.Contains(refusal.Reason, why) {
				s.reasons[why]++
				return
			}
		}
	}
	t.Errorf("%s: a valid module is refused: %v", where, err)
}

// start instantiates a module and, if it is rewritten, does what an adapter does.
func (i *specInstance) start(t testing.TB, where string, e *engine, binary []byte) {
	t.Helper()
	ctx := context.Background()
	compiled, err := e.runtime.CompileModule(ctx, binary)
	if err != nil {
		t.Errorf("%s: the engine refuses the module %s: %v", where, i.what, err)
		return
	}
	i.m, err = e.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		i.trapped = err
		if i.rewrote != nil {
			t.Errorf("%s: %s: instantiation: %v", where, i.what, err)
		}
		return
	}
	if i.rewrote == nil {
		return
	}
	if i.rewrote.Image != nil && !i.m.Memory().Write(0, i.rewrote.Image) {
		t.Errorf("%s: the image does not fit", where)
	}
	i.refill()
	_, i.trapped = i.m.ExportedFunction("_start").Call(ctx)
}

// refill gives a rewritten module fuel and depth for the next call.
func (i *specInstance) refill() {
	if i.rewrote == nil {
		return
	}
	i.m.ExportedGlobal(i.rewrote.GlobalFuel).(api.MutableGlobal).Set(plenty)
	i.m.ExportedGlobal(i.rewrote.GlobalDepth).(api.MutableGlobal).Set(gw1.DepthSlots)
	i.m.ExportedGlobal(i.rewrote.GlobalTrap).(api.MutableGlobal).Set(0)
}

// act does an action on all forms of a module and checks what comes of it.
func (s *suite) act(t *testing.T, where string, sub *subject, kind string, a action, expected []specValue) {
	t.Helper()
	var fuel int64
	for n, i := range sub.forms {
		if i.m == nil || kind == "assert_exhaustion" && i.what == "interpreted" { // its own stack ends first
			continue
		}
		got, err := i.do(a)
		switch kind {
		case "assert_return", "action":
			if err != nil {
				t.Errorf("%s: %s: %s: %v", where, i.what, a.Field, err)
				continue
			}
			if want, diff := compareSpec(got, expected, i.rewrote != nil && !strings.Contains(a.Field, "neg")); kind == "assert_return" && diff {
				t.Errorf("%s: %s: %s gives %x, want %s", where, i.what, a.Field, got, want)
			}
		case "assert_trap", "assert_exhaustion":
			want := uint64(gw1.TrapProgram)
			if kind == "assert_exhaustion" {
				want = gw1.TrapDepth
			}
			if err == nil {
				t.Errorf("%s: %s: %s does not trap", where, i.what, a.Field)
			} else if i.rewrote != nil && i.m.ExportedGlobal(i.rewrote.GlobalTrap).Get() != want {
				t.Errorf("%s: %s: %s: wrong kind of trap: %v", where, i.what, a.Field, err)
			}
			s.traps++
		}
		if i.rewrote == nil || a.Type != "invoke" {
			continue
		}
		left := int64(i.m.ExportedGlobal(i.rewrote.GlobalFuel).Get())
		if n > 1 && left != fuel {
			t.Errorf("%s: %s: %s leaves %d fuel, want %d", where, i.what, a.Field, left, fuel)
		}
		fuel = left
	}
	s.calls++
}

func (i *specInstance) do(a action) ([]uint64, error) {
	if a.Type == "get" {
		return []uint64{i.m.ExportedGlobal(a.Field).Get()}, nil
	}
	i.refill()
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.bits()...)
	}
	return i.m.ExportedFunction(a.Field).Call(context.Background(), args...)
}

// laneBits is the width of a lane.
var laneBits = map[string]int{"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}

// lanes returns the texts of a value's lanes and their width.
func (v specValue) lanes() (texts []string, bits int) {
	if v.Type == "v128" {
		if json.Unmarshal(v.Value, &texts) != nil {
			panic("malformed vector in the suite")
		}
		return texts, laneBits[v.LaneType]
	}
	var text string
	if json.Unmarshal(v.Value, &text) != nil {
		panic("malformed value in the suite")
	}
	return []string{text}, laneBits[v.Type]
}

// bits is the value as the engine passes it: one word, or two for a vector. A reference from the host is its
// number and one, as zero is null.
func (v specValue) bits() []uint64 {
	texts, width := v.lanes()
	if width == 0 {
		if n, err := strconv.ParseUint(texts[0], 10, 64); err == nil {
			return []uint64{n + 1}
		}
		return []uint64{0}
	}
	words := make([]uint64, 1+(width*len(texts)-1)/64)
	for i, text := range texts {
		words[i*width/64] |= laneValue(text, width) << (i * width % 64)
	}
	return words
}

// laneValue reads a number, signed or not, or a NaN, which the profile makes canonical.
func laneValue(text string, width int) uint64 {
	if strings.HasPrefix(text, "nan:") {
		if width == 32 {
			return 0x7fc00000
		}
		return 0x7ff8000000000000
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		signed, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			panic("malformed number in the suite: " + text)
		}
		n = uint64(signed)
	}
	if width < 64 {
		n &= 1<<width - 1
	}
	return n
}

// compareSpec tells whether results are not those expected. Where the suite allows several NaNs, a canonical
// one must be the one of the profile.
func compareSpec(got []uint64, expected []specValue, canonical bool) (want string, diff bool) {
	at := 0
	for _, v := range expected {
		texts, width := v.lanes()
		words := v.bits()
		want += fmt.Sprintf("%x ", words)
		if at+len(words) > len(got) {
			return want, true
		}
		have := got[at : at+len(words)]
		at += len(words)
		if width == 0 {
			isNull := texts[0] == "null"
			diff = diff || isNull != (have[0] == 0) || !isNull && v.Type == "externref" && have[0] != words[0]
			continue
		}
		for i, text := range texts {
			lane := have[i*width/64] >> (i * width % 64)
			if width < 64 {
				lane &= 1<<width - 1
			}
			switch exact := laneValue(text, width); {
			case lane == exact:
			case !canonical && strings.HasPrefix(text, "nan:") && lane&exact == exact: // any sign and payload
			default:
				diff = true
			}
		}
	}
	return want, diff || at != len(got)
}

// withStart adds an empty function to a module and exports it as _start, to make a command of it. It reports
// false if the module's sections cannot be made out.
func withStart(wasm []byte) ([]byte, bool) {
	if len(wasm) < 8 || string(wasm[:8]) != wasmHeader {
		return nil, false
	}
	type part struct {
		id   int
		body []byte
	}
	var parts []part
	rest := wasm[8:]
	for len(rest) > 0 {
		n, size, ok := readULEB(rest[1:])
		if !ok || uint64(len(rest)) < 1+uint64(size)+uint64(n) {
			return nil, false
		}
		parts = append(parts, part{int(rest[0]), rest[1+size : 1+size+n]})
		rest = rest[1+size+n:]
	}
	find := func(id int) *part {
		for i := range parts {
			if parts[i].id == id {
				return &parts[i]
			}
		}
		// A new section goes in front of the first that must come later.
		at := len(parts)
		for i, p := range parts {
			if p.id != 0 && sectionRank(p.id) > sectionRank(id) {
				at = i
				break
			}
		}
		parts = slices.Insert(parts, at, part{id, []byte{0}})
		return &parts[at]
	}
	// Appends an entry to a section and returns how many it had.
	add := func(id int, entry []byte) (int, bool) {
		p := find(id)
		n, size, ok := readULEB(p.body)
		if !ok {
			return 0, false
		}
		p.body = cat(uleb(n+1), p.body[size:], entry)
		return n, true
	}
	imports := 0
	for _, p := range parts {
		if n, ok := countFunctionImports(p.body); p.id == 2 && ok {
			imports = n
		} else if p.id == 2 {
			return nil, false
		}
	}
	typ, ok1 := add(1, []byte{0x60, 0, 0})
	function, ok2 := add(3, uleb(typ))
	_, ok3 := add(7, cat(named("_start"), 0, uleb(imports+function)))
	_, ok4 := add(10, []byte{2, 0, 0x0b})
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil, false
	}
	out := []byte(wasmHeader)
	for _, p := range parts {
		out = append(out, sectionOf(p.id, p.body)...)
	}
	return out, true
}

// sectionRank is the place of a section: the data count comes in front of the code.
func sectionRank(id int) int {
	if id == 12 {
		return 19
	}
	return 2 * id
}

// readULEB reads a number of at most 32 bits and returns it and its length.
func readULEB(b []byte) (v, size int, ok bool) {
	for i := 0; i < min(len(b), 5); i++ {
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1, true
		}
	}
	return 0, 0, false
}

// countFunctionImports reads an import section as far as it must.
func countFunctionImports(b []byte) (functions int, ok bool) {
	next := func() int {
		v, size, good := readULEB(b)
		if !good {
			ok = false
			b = nil
			return 0
		}
		b = b[size:]
		return v
	}
	skip := func(n int) {
		if n > len(b) {
			ok = false
			n = len(b)
		}
		b = b[n:]
	}
	ok = true
	for count := next(); count > 0 && ok; count-- {
		skip(next())
		skip(next())
		kind := next()
		switch kind {
		case 0:
			functions++
			next()
		case 1, 2:
			if kind == 1 {
				skip(1)
			}
			flags := next()
			next()
			if flags&1 != 0 {
				next()
			}
		case 3:
			skip(2)
		default:
			return 0, false
		}
	}
	return functions, ok
}
