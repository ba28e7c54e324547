package main

import "math"

// point is a position, a direction or a colour.
type point struct{ x, y, z float64 }

func (a point) add(b point) point     { return point{a.x + b.x, a.y + b.y, a.z + b.z} }
func (a point) sub(b point) point     { return point{a.x - b.x, a.y - b.y, a.z - b.z} }
func (a point) scale(s float64) point { return point{a.x * s, a.y * s, a.z * s} }
func (a point) dot(b point) float64   { return a.x*b.x + a.y*b.y + a.z*b.z }
func (a point) cross(b point) point {
	return point{a.y*b.z - a.z*b.y, a.z*b.x - a.x*b.z, a.x*b.y - a.y*b.x}
}
func (a point) length() float64 { return math.Sqrt(a.dot(a)) }
func (a point) unit() point {
	if l := a.length(); l > 0 {
		return a.scale(1 / l)
	}
	return point{0, 1, 0}
}

// mesh is a list of triangles over shared vertices, with a material each.
type mesh struct {
	positions, normals []point
	triangles          [][3]uint32
	materials          []uint8
}

// addGrid adds a (columns+1) x (rows+1) grid of points; at gives the place
// and normal of column/columns and row/rows. Cells without area are left out.
func (m *mesh) addGrid(columns, rows int, mat uint8, at func(u, v float64) (point, point)) {
	base := uint32(len(m.positions))
	for j := range rows + 1 {
		for i := range columns + 1 {
			p, n := at(float64(i)/float64(columns), float64(j)/float64(rows))
			m.positions = append(m.positions, p)
			m.normals = append(m.normals, n)
		}
	}
	stride := uint32(columns + 1)
	for j := range uint32(rows) {
		for i := range uint32(columns) {
			a := base + j*stride + i
			m.addTriangle(a, a+1, a+stride+1, mat)
			m.addTriangle(a, a+stride+1, a+stride, mat)
		}
	}
}

func (m *mesh) addTriangle(a, b, c uint32, mat uint8) {
	pa, pb, pc := m.positions[a], m.positions[b], m.positions[c]
	if pb.sub(pa).cross(pc.sub(pa)).length() < 1e-12 {
		return
	}
	m.triangles = append(m.triangles, [3]uint32{a, b, c})
	m.materials = append(m.materials, mat)
}

// addSphere adds an icosahedron divided depth times (20 * 4^depth triangles)
// and blown up to a sphere.
func (m *mesh) addSphere(centre point, radius float64, depth int, mat uint8) {
	g := (1 + math.Sqrt(5)) / 2
	corners := []point{
		{-1, g, 0}, {1, g, 0}, {-1, -g, 0}, {1, -g, 0},
		{0, -1, g}, {0, 1, g}, {0, -1, -g}, {0, 1, -g},
		{g, 0, -1}, {g, 0, 1}, {-g, 0, -1}, {-g, 0, 1},
	}
	faces := [][3]int{
		{0, 11, 5}, {0, 5, 1}, {0, 1, 7}, {0, 7, 10}, {0, 10, 11},
		{1, 5, 9}, {5, 11, 4}, {11, 10, 2}, {10, 7, 6}, {7, 1, 8},
		{3, 9, 4}, {3, 4, 2}, {3, 2, 6}, {3, 6, 8}, {3, 8, 9},
		{4, 9, 5}, {2, 4, 11}, {6, 2, 10}, {8, 6, 7}, {9, 8, 1},
	}
	for i := range corners {
		corners[i] = corners[i].unit()
	}
	for range depth {
		middle := map[[2]int]int{}
		half := func(a, b int) int {
			key := [2]int{min(a, b), max(a, b)}
			if i, ok := middle[key]; ok {
				return i
			}
			corners = append(corners, corners[a].add(corners[b]).unit())
			middle[key] = len(corners) - 1
			return len(corners) - 1
		}
		var finer [][3]int
		for _, f := range faces {
			ab, bc, ca := half(f[0], f[1]), half(f[1], f[2]), half(f[2], f[0])
			finer = append(finer, [3]int{f[0], ab, ca}, [3]int{f[1], bc, ab}, [3]int{f[2], ca, bc}, [3]int{ab, bc, ca})
		}
		faces = finer
	}
	base := uint32(len(m.positions))
	for _, c := range corners {
		m.positions = append(m.positions, centre.add(c.scale(radius)))
		m.normals = append(m.normals, c)
	}
	for _, f := range faces {
		m.addTriangle(base+uint32(f[0]), base+uint32(f[1]), base+uint32(f[2]), mat)
	}
}

// addKnot adds a (p, q) torus knot: a tube of the given thickness around a
// curve that winds around a torus.
func (m *mesh) addKnot(place func(point) point, p, q int, radius, swing, thickness float64, along, around int, mat uint8) {
	curve := func(t float64) point {
		a := 2 * math.Pi * t
		r := radius + swing*math.Cos(float64(q)*a)
		return point{r * math.Cos(float64(p)*a), r * math.Sin(float64(p)*a), swing * math.Sin(float64(q)*a)}
	}
	centre := place(point{})
	m.addGrid(along, around, mat, func(u, v float64) (point, point) {
		const d = 1e-4
		c := curve(u)
		ahead := curve(u + d).sub(curve(u - d)).unit()
		// Any side vector that varies smoothly will do: the radial one never
		// lines up with the curve.
		side := ahead.cross(point{c.x, c.y, 0}.unit()).unit()
		out := side.cross(ahead)
		a := 2 * math.Pi * v
		n := side.scale(math.Cos(a)).add(out.scale(math.Sin(a)))
		return place(c.add(n.scale(thickness))), place(n).sub(centre).unit()
	})
}

// surfaceNormal estimates the normal of a smooth surface by differences.
func surfaceNormal(f func(u, v float64) point, u, v float64) point {
	const d = 1e-4
	return f(u+d, v).sub(f(u-d, v)).cross(f(u, v+d).sub(f(u, v-d))).unit()
}
