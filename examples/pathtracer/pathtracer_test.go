package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/demoscene"
)

// TestRunWritesOneTile runs the program natively, as a user would.
func TestRunWritesOneTile(t *testing.T) {
	t.Parallel()
	scene, out := demoScene(t), filepath.Join(t.TempDir(), "deep", "tile.rgba")
	args := []string{"-scene", scene, "-width", "64", "-height", "36", "-spp", "1", "-tiles", "4x3", "-index", "6", "-out", out}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	pixels, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if want := 16 * 12 * 4; len(pixels) != want {
		t.Fatalf("the tile has %d bytes, want %d", len(pixels), want)
	}
	if shades := countShades(pixels); shades < 20 {
		t.Errorf("the tile shows %d different colours, a picture has more", shades)
	}
	for i := 3; i < len(pixels); i += 4 {
		if pixels[i] != 255 {
			t.Fatalf("pixel %d is not opaque", i/4)
		}
	}
}

func TestPixelsDoNotDependOnTheTile(t *testing.T) {
	t.Parallel()
	s := loadDemo(t)
	const width, height = 48, 27
	whole := newRenderer(s, width, height, 2, 7).render(image.Rect(0, 0, width, height))
	rect := image.Rect(13, 9, 30, 20)
	part := newRenderer(s, width, height, 2, 7).render(rect)
	for y := rect.Min.Y; y < rect.Max.Y; y++ {
		from := 4 * (y*width + rect.Min.X)
		row := part[4*rect.Dx()*(y-rect.Min.Y):][:4*rect.Dx()]
		if !bytes.Equal(row, whole[from:from+4*rect.Dx()]) {
			t.Fatalf("row %d differs between a tile and the full frame", y)
		}
	}
	other := newRenderer(s, width, height, 2, 8).render(rect)
	if bytes.Equal(part, other) {
		t.Error("another seed gives the same pixels")
	}
}

// TestWalkFindsTheNearestTriangle compares the tree with trying all.
func TestWalkFindsTheNearestTriangle(t *testing.T) {
	t.Parallel()
	s := loadDemo(t)
	tr := &tracer{scene: s}
	all := &tracer{scene: onlyLeaves(s)}
	found := 0
	for i := range uint64(40) {
		o := vec{unitFloat(uint32(hash(i, 0)))*12 - 6, unitFloat(uint32(hash(i, 1))) * 5, unitFloat(uint32(hash(i, 2)))*12 - 6}
		to := vec{unitFloat(uint32(hash(i, 3)))*3 - 1.5, unitFloat(uint32(hash(i, 4))) * 2.5, 0}
		d := to.sub(o).unit()
		var got, want hit
		tr.closest(o, d, math.MaxFloat32, &got)
		all.closest(o, d, math.MaxFloat32, &want)
		if got.triangle >= 0 {
			found++
		}
		if got.t != want.t || (got.triangle < 0) != (want.triangle < 0) {
			t.Errorf("ray %d: the tree finds triangle %d at %g, the list %d at %g", i, got.triangle, got.t, want.triangle, want.t)
		}
	}
	if found < 10 {
		t.Errorf("only %d of 40 rays hit anything: the test says little", found)
	}
}

// onlyLeaves returns the scene with one box around everything: a chain of
// nodes that each hold some triangles.
func onlyLeaves(s *scene) *scene {
	flat := *s
	flat.nodes = nil
	const size = 15
	var leaves []int32
	for first := 0; first < len(s.triangles); first += size {
		leaves = append(leaves, ^int32(first<<4|min(size, len(s.triangles)-first)))
	}
	var build func(part []int32) int32
	build = func(part []int32) int32 {
		if len(part) == 1 {
			return part[0]
		}
		at := int32(len(flat.nodes))
		all := [8]uint16{0, 65535, 0, 65535, 1, 0, 1, 0}
		flat.nodes = append(flat.nodes, node{x: all, y: all, z: all})
		l, r := build(part[:len(part)/2]), build(part[len(part)/2:])
		flat.nodes[at].children = [4]int32{l, r, -1, -1}
		return at
	}
	build(leaves)
	return &flat
}

func TestRefusedArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"-out o", "exactly one of"},
		{"-all -tile 0,0,1,1 -out o", "exactly one of"},
		{"-all", "no output"},
		{"-all -out o extra", "unexpected argument"},
		{"-all -out o -spp 0", "-spp 0"},
		{"-all -out o -width 0", "frame of 0x360"},
		{"-tile 0,0,641,1 -out o", "not inside"},
		{"-tile 1,2 -out o", "want X,Y,W,H"},
		{"-tile 9223372036854775807,0,9223372036854775807,1 -out o", "not inside"},
		{"-tiles 4x -out o", "want columns x rows"},
		{"-tiles 4x4 -index 16 -out o", "tiles 0 to 15"},
		{"-all -out o -scene /nowhere/scene.bin", "reading the scene"},
	} {
		if err := run(strings.Fields(c.args)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.args, err, c.want)
		}
	}
}

func TestGridCoversTheFrameOnce(t *testing.T) {
	t.Parallel()
	frame := image.Rect(0, 0, 101, 67)
	seen := map[image.Point]int{}
	for i := range 7 * 5 {
		r, err := gridTile("7x5", i, frame)
		if err != nil {
			t.Fatal(err)
		}
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				seen[image.Pt(x, y)]++
			}
		}
	}
	if len(seen) != 101*67 {
		t.Fatalf("%d pixels covered, want %d", len(seen), 101*67)
	}
	for p, n := range seen {
		if n != 1 {
			t.Fatalf("pixel %v is in %d tiles", p, n)
		}
	}
}

func FuzzScene(f *testing.F) {
	good := tinyScene()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good[:40])
	f.Add([]byte(sceneMagic))
	for _, at := range []int{8, 12, 16, 20, 24, 44, 200, len(good) - 20, len(good) - 60} {
		damaged := bytes.Clone(good)
		damaged[at] ^= 0xff
		f.Add(damaged)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeScene(data)
		if err != nil {
			return
		}
		if n := len(newRenderer(s, 2, 2, 1, 1).render(image.Rect(0, 0, 2, 2))); n != 16 {
			t.Fatalf("%d bytes of 4 pixels", n)
		}
	})
}

// TestOddCameraEnds renders from places that overflow the box tests: the
// picture is nonsense, but there is one.
func TestOddCameraEnds(t *testing.T) {
	t.Parallel()
	eye := len(sceneMagic) + 4*5 + 4*4
	for _, x := range []float32{1e30, -3e38, float32(math.Inf(1)), float32(math.NaN())} {
		data := tinyScene()
		binary.LittleEndian.PutUint32(data[eye:], math.Float32bits(x))
		s, err := decodeScene(data)
		if err != nil {
			t.Fatal(err)
		}
		newRenderer(s, 4, 4, 1, 1).render(image.Rect(0, 0, 4, 4))
	}
}

func TestDisplayTakesAnyNumber(t *testing.T) {
	t.Parallel()
	r := newRenderer(&scene{step: 1, mask: make([]uint16, maskSide*maskSide)}, 1, 1, 1, 1)
	inf := float32(math.Inf(1))
	for x, want := range map[float32]uint8{0: 0, -1: 0, -inf: 0, 100: 255, 3e38: 255, inf: 255, float32(math.NaN()): 0} {
		if got := r.display(x); got != want {
			t.Errorf("light %g is shown as %d, want %d", x, got, want)
		}
	}
}

func TestTreesAreChecked(t *testing.T) {
	t.Parallel()
	leaf := ^int32(0<<4 | 1)
	for name, children := range map[string][][4]int32{
		"itself":       {{0, leaf, -1, -1}},
		"two parents":  {{1, 1, -1, -1}, {leaf, -1, -1, -1}},
		"past the end": {{1, leaf, -1, -1}},
		"triangles":    {{^int32(1<<4 | 2), leaf, -1, -1}},
	} {
		s := &scene{triangles: make([]triangle, 2), nodes: make([]node, len(children))}
		for i := range children {
			s.nodes[i].children = children[i]
		}
		if err := s.check(); err == nil {
			t.Errorf("%s: the tree was accepted", name)
		}
	}
}

func TestTinySceneIsRead(t *testing.T) {
	t.Parallel()
	if _, err := decodeScene(tinyScene()); err != nil {
		t.Fatal(err)
	}
	data := tinyScene()
	if _, err := decodeScene(data[:len(data)-1]); err != errTruncated {
		t.Errorf("a scene cut short: got %v, want %v", err, errTruncated)
	}
}

// tinyScene is a scene file of two triangles.
func tinyScene() []byte {
	var b []byte
	le := binary.LittleEndian
	numbers := func(values ...float32) {
		for _, v := range values {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	}
	b = append(b, sceneMagic...)
	for _, n := range []uint32{4, 2, 1, 1, 1} {
		b = le.AppendUint32(b, n)
	}
	numbers(-1, 0, -1, 0.001)
	numbers(0, 1, 5, 0, 0.5, 0, 0.3, 0.01, 5)
	numbers(0.1, 0.1, 0.2, 0.5, 0.5, 0.5, 0, 0, -1, 0.5, 0, 0)
	numbers(0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 1, 0.05, 5, 9, 0, 0)
	numbers(0, 0.5, 0.5, 0.5, 0.1, 0, 0, 0)
	numbers(-1, 4, -1, 2, 0, 0, 0, 0, 2, 5, 5, 5)
	b = append(b, make([]byte, 2*maskSide*maskSide)...)
	for _, v := range []uint16{1, 1, 1000, 1999, 1, 1000, 1999, 1999, 1000, 0, 1, 1, 1000, 1999, 1999, 1000, 1, 1999, 1000, 0} {
		b = le.AppendUint16(b, v)
	}
	for range 3 {
		for _, v := range []uint16{0, 2000, 0, 2000, 1, 0, 1, 0} {
			b = le.AppendUint16(b, v)
		}
	}
	for _, child := range []int32{^(0<<4 | 1), ^(1<<4 | 1), -1, -1} {
		b = le.AppendUint32(b, uint32(child))
	}
	for _, v := range []uint32{0, 1, 2, 0, 2, 3} {
		b = le.AppendUint32(b, v)
	}
	for range 4 {
		for _, v := range []uint16{0, 0, 32767} {
			b = le.AppendUint16(b, v)
		}
	}
	return b
}

func countShades(pixels []byte) int {
	shades := map[[3]byte]bool{}
	for i := 0; i+4 <= len(pixels); i += 4 {
		shades[[3]byte(pixels[i:i+3])] = true
	}
	return len(shades)
}

// demoScene writes the demo's scene to a file.
func demoScene(t *testing.T) string {
	t.Helper()
	data, err := demoscene.Scene()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "scene.bin")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func loadDemo(t *testing.T) *scene {
	t.Helper()
	data, err := demoscene.Scene()
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeScene(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
