package main

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Material numbers of the scene, in the order of the palette.
const (
	glaze uint8 = iota
	gold
	crystal
	copper
	coral
	ivory
	night
	sage
	amber
)

// material is a row of the scene file's material table: the kinds are
// 0 coated, 1 metal, 2 glass.
type material struct {
	kind      float64
	colour    point
	roughness float64
}

var palette = []material{
	glaze:   {0, point{0.016, 0.16, 0.20}, 0.06},
	gold:    {1, point{1.00, 0.74, 0.36}, 0.16},
	crystal: {2, point{0.97, 0.99, 0.98}, 0},
	copper:  {1, point{0.97, 0.62, 0.48}, 0.20},
	coral:   {0, point{0.78, 0.13, 0.07}, 0.12},
	ivory:   {0, point{0.82, 0.76, 0.64}, 0.10},
	night:   {0, point{0.03, 0.05, 0.16}, 0.05},
	sage:    {0, point{0.30, 0.46, 0.27}, 0.15},
	amber:   {2, point{1.00, 0.72, 0.30}, 0},
}

// compose places everything that stands on the floor y = 0.
func compose() (*mesh, error) {
	patches, err := readTeapot()
	if err != nil {
		return nil, err
	}
	m := &mesh{}
	m.addTeapot(patches, 28, turned(-0.42, point{0.1, 0, 0}), func(p teapotPart) uint8 {
		if p == teapotKnob {
			return ivory
		}
		return glaze
	})
	m.addKnot(func(p point) point {
		p = point{p.x, p.y + 1.72, p.z}
		return turned(0.5, point{4.7, 0, -2.3})(p)
	}, 2, 3, 1.0, 0.42, 0.3, 240, 20, gold)
	m.addSphere(point{-3.25, 0.95, 2.35}, 0.95, 4, crystal)
	addShell(m, turned(0.3, point{-5.1, 1.45, -2.2}), copper)
	for _, p := range []struct {
		x, z, r float64
		mat     uint8
	}{
		{3.15, 2.75, 0.52, coral},
		{4.15, 2.1, 0.34, ivory},
		{2.15, 3.45, 0.27, night},
		{3.95, 3.35, 0.24, amber},
		{0.35, 3.7, 0.36, ivory},
		{-1.35, 3.35, 0.26, coral},
		{-0.75, 4.25, 0.20, gold},
		{-4.75, 1.5, 0.40, sage},
		{-2.0, 4.5, 0.23, sage},
		{5.35, 1.35, 0.42, night},
		{1.45, 4.5, 0.18, amber},
		{-5.6, 2.35, 0.25, ivory},
	} {
		m.addSphere(point{p.x, p.r, p.z}, p.r, 3, p.mat)
	}
	return m, nil
}

// turned returns a map that turns by angle around the vertical and then
// moves.
func turned(angle float64, to point) func(point) point {
	s, c := math.Sincos(angle)
	return func(p point) point {
		return point{c*p.x + s*p.z, p.y, c*p.z - s*p.x}.add(to)
	}
}

// addShell adds a ball of twelve twisted ribs.
func addShell(m *mesh, place func(point) point, mat uint8) {
	shape := func(u, v float64) point {
		a, b := 2*math.Pi*u, math.Pi*v
		ring := math.Sin(b)
		r := 1.32 + 0.13*ring*math.Cos(12*a+5*math.Cos(b))
		return place(point{r * ring * math.Cos(a), 1.1 * r * math.Cos(b), -r * ring * math.Sin(a)})
	}
	m.addGrid(180, 48, mat, func(u, v float64) (point, point) {
		const inset = 1e-3
		return shape(u, v), surfaceNormal(shape, u, min(max(v, inset), 1-inset)).scale(-1)
	})
}

// encodeScene writes the scene file; its layout is described beside its
// reader, in examples/pathtracer/scene.go.
func encodeScene() ([]byte, error) {
	m, err := compose()
	if err != nil {
		return nil, err
	}
	origin, step, corners := m.quantise()
	boxes := make([]box, len(m.triangles))
	for i, t := range m.triangles {
		boxes[i] = emptyBox()
		for _, v := range t {
			boxes[i].include(box{corners[v], corners[v]})
		}
	}
	tree := buildTree(boxes)
	if len(tree.order) != len(m.triangles) {
		return nil, fmt.Errorf("the tree holds %d of %d triangles", len(tree.order), len(m.triangles))
	}
	nodes := tree.widen()
	w := &writer{}
	w.data = append(w.data, "GTSCENE1"...)
	w.u32(len(m.positions), len(m.triangles), len(nodes), len(palette), len(lights))
	w.points(origin)
	w.f32(step)
	w.setting()
	w.u16(blueNoise()...)
	m.encode(w, corners, tree, nodes)
	return w.data, nil
}

// quantise lays a grid of 65536 steps a side over the mesh.
func (m *mesh) quantise() (origin point, step float64, corners []corner) {
	lo, hi := m.positions[0], m.positions[0]
	for _, p := range m.positions {
		lo = point{min(lo.x, p.x), min(lo.y, p.y), min(lo.z, p.z)}
		hi = point{max(hi.x, p.x), max(hi.y, p.y), max(hi.z, p.z)}
	}
	// Rounded to 32 bits, because that is what the reader multiplies with.
	origin = point{single(lo.x - 0.01), single(lo.y - 0.01), single(lo.z - 0.01)}
	step = single(max(hi.x-origin.x, hi.y-origin.y, hi.z-origin.z) / 65530)
	corners = make([]corner, len(m.positions))
	for i, p := range m.positions {
		d := p.sub(origin).scale(1 / step)
		corners[i] = corner{int64(math.Round(d.x)), int64(math.Round(d.y)), int64(math.Round(d.z))}
	}
	return origin, step, corners
}

func single(x float64) float64 { return float64(float32(x)) }

// encode writes triangles and tree, then the normals.
func (m *mesh) encode(w *writer, corners []corner, t tree, nodes []wideNode) {
	for _, i := range t.order {
		for _, v := range m.triangles[i] {
			w.u16(uint16(corners[v][0]), uint16(corners[v][1]), uint16(corners[v][2]))
		}
		w.u16(uint16(m.materials[i]))
	}
	for _, n := range nodes {
		// A step wider on every side: that makes up for the rounding in the
		// renderer's box tests.
		for k := range 3 {
			for _, b := range n.boxes {
				w.u16(uint16(b.lo[k]-1), uint16(b.hi[k]+1))
			}
		}
		for _, c := range n.children {
			w.u32(int(uint32(c)))
		}
	}
	for _, i := range t.order {
		for _, v := range m.triangles[i] {
			w.u32(int(v))
		}
	}
	for _, n := range m.normals {
		for _, c := range [3]float64{n.x, n.y, n.z} {
			w.u16(uint16(int16(math.Round(c * 32767))))
		}
	}
}

// light is a rectangular softbox: it shines to the side of u x v.
type light struct{ corner, u, v, emit point }

var lights = []light{
	softbox(point{-6.5, 8.5, 6.0}, point{0, 0.8, 0}, 4.4, 4.4, point{13.5, 12.2, 10.4}), // key
	softbox(point{8.5, 4.8, -6.5}, point{0.5, 1.0, -1}, 1.8, 5.0, point{9, 13, 19}),     // cool rim
	softbox(point{9.5, 5.0, 5.5}, point{0.8, 0.9, 0}, 2.4, 4.2, point{3.4, 2.7, 2.0}),   // warm fill
}

// softbox centres a rectangle that faces the target.
func softbox(centre, target point, width, height float64, emit point) light {
	n := target.sub(centre).unit()
	u := point{0, 1, 0}.cross(n).unit()
	v := n.cross(u)
	u, v = u.scale(width), v.scale(height)
	return light{centre.sub(u.scale(0.5)).sub(v.scale(0.5)), u, v, emit}
}

// setting writes camera, sky, floor, materials and lights.
func (w *writer) setting() {
	eye, target := point{0.35, 3.55, 11.6}, point{0.05, 1.22, 0}
	w.points(eye, target)
	w.f32(math.Tan(14.6*math.Pi/180), 0.055, 9.9)
	w.points(point{0.07, 0.11, 0.19}, point{0.46, 0.37, 0.31}, point{0.25, 0.1, -1}.unit())
	w.f32(0.75, 0, 0)
	w.points(point{0.44, 0.41, 0.38}, point{0.155, 0.15, 0.155})
	w.f32(1.9, 0.05, 9, 21, 0, 0)
	for _, m := range palette {
		w.f32(m.kind)
		w.points(m.colour)
		w.f32(m.roughness, 0, 0, 0)
	}
	for _, l := range lights {
		w.points(l.corner, l.u, l.v, l.emit)
	}
}

// writer appends little-endian numbers.
type writer struct{ data []byte }

func (w *writer) u16(values ...uint16) {
	for _, v := range values {
		w.data = binary.LittleEndian.AppendUint16(w.data, v)
	}
}

func (w *writer) u32(values ...int) {
	for _, v := range values {
		w.data = binary.LittleEndian.AppendUint32(w.data, uint32(v))
	}
}

func (w *writer) f32(values ...float64) {
	for _, v := range values {
		w.data = binary.LittleEndian.AppendUint32(w.data, math.Float32bits(float32(v)))
	}
}

func (w *writer) points(points ...point) {
	for _, p := range points {
		w.f32(p.x, p.y, p.z)
	}
}
