package main

// hit is what a ray met.
type hit struct {
	t, u, v  float32
	triangle int // -1: none
	passed   vec // what glass on the way let through, for shadow rays
}

const (
	// stackSize holds 3 entries for each level of a tree and what a visit
	// writes beyond the top. It is a power of two, so that a masked index
	// needs no bounds check.
	stackSize = 256
	// missed sorts a box behind all that were met.
	missed = 1 << 60
	// Box tests run in 64-bit fixed point with this many fractional bits, in
	// steps of the vertex grid. Integers give a minimum without a
	// branch, and branches are what Go's WebAssembly code pays most for.
	fixedBits = 20
	fixedOne  = 1 << fixedBits
	// farAway bounds distances in steps, so that no product overflows.
	farAway = 1 << 34
	// flattest is the smallest component a direction counts with in box
	// tests: 2^16 steps, over it, in fixed point, stay below 2^63.
	flattest = 1.0 / (1 << 20)
)

// tracer owns the traversal's scratch memory, so that a ray allocates and
// clears nothing.
type tracer struct {
	*scene
	stack [stackSize]int32
	entry [stackSize]int64
}

// fixedInverse returns 1/x in fixed point.
func fixedInverse(x float32) int64 {
	if x > -flattest && x < flattest {
		return int64(fixedOne / flattest)
	}
	return int64(fixedOne / float64(x))
}

// least and most are min and max without a branch, for numbers whose
// difference does not overflow.
func least(a, b int64) int64 { return b + (a-b)&((a-b)>>63) }

func most(a, b int64) int64 { return a - (a-b)&((a-b)>>63) }

// side returns 0 for a ray that rises along an axis and so enters boxes by
// their lower side, else 1.
func side(i int64) int { return int(i>>63) & 1 }

// closest finds the nearest triangle in front of o along d, nearer than
// limit.
func (tr *tracer) closest(o, d vec, limit float32, h *hit) {
	tr.walk(o, d, limit, false, h)
}

// visible returns what part of the light reaches o along d from the distance
// limit: 0 behind opaque triangles; glass lets a tinted part straight
// through, which stands in for caustics.
func (tr *tracer) visible(o, d vec, limit float32) vec {
	var h hit
	h.passed = vec{1, 1, 1}
	tr.walk(o, d, limit, true, &h)
	if h.triangle >= 0 {
		return vec{}
	}
	return h.passed
}

// walk goes through the tree. For shadow rays any opaque triangle will do.
// It is one long loop on purpose: calls and branches are dear in
// WebAssembly, and nearly all of the time is spent here.
func (tr *tracer) walk(o, d vec, limit float32, shadow bool, h *hit) {
	h.triangle = -1
	ox, oy, oz := (o.x-tr.origin.x)*tr.steps, (o.y-tr.origin.y)*tr.steps, (o.z-tr.origin.z)*tr.steps
	best := limit * tr.steps
	if !(best < farAway) {
		best = farAway
	}
	bestFixed := int64(best*fixedOne) + fixedOne
	ix, iy, iz := fixedInverse(d.x), fixedInverse(d.y), fixedInverse(d.z)
	px, py, pz := int64(float64(ox)*float64(ix)), int64(float64(oy)*float64(iy)), int64(float64(oz)*float64(iz))
	sx, sy, sz := side(ix), side(iy), side(iz)
	top := 0
	at := int32(0)
	for {
		if at >= 0 {
			nd := &tr.nodes[at]
			n0 := most(most(int64(nd.x[sx&1])*ix-px, int64(nd.y[sy&1])*iy-py), most(int64(nd.z[sz&1])*iz-pz, 0))
			f0 := least(least(int64(nd.x[sx&1^1])*ix-px, int64(nd.y[sy&1^1])*iy-py), least(int64(nd.z[sz&1^1])*iz-pz, bestFixed))
			n1 := most(most(int64(nd.x[sx&1|2])*ix-px, int64(nd.y[sy&1|2])*iy-py), most(int64(nd.z[sz&1|2])*iz-pz, 0))
			f1 := least(least(int64(nd.x[sx&1^3])*ix-px, int64(nd.y[sy&1^3])*iy-py), least(int64(nd.z[sz&1^3])*iz-pz, bestFixed))
			n2 := most(most(int64(nd.x[sx&1|4])*ix-px, int64(nd.y[sy&1|4])*iy-py), most(int64(nd.z[sz&1|4])*iz-pz, 0))
			f2 := least(least(int64(nd.x[sx&1^5])*ix-px, int64(nd.y[sy&1^5])*iy-py), least(int64(nd.z[sz&1^5])*iz-pz, bestFixed))
			n3 := most(most(int64(nd.x[sx&1|6])*ix-px, int64(nd.y[sy&1|6])*iy-py), most(int64(nd.z[sz&1|6])*iz-pz, 0))
			f3 := least(least(int64(nd.x[sx&1^7])*ix-px, int64(nd.y[sy&1^7])*iy-py), least(int64(nd.z[sz&1^7])*iz-pz, bestFixed))
			// All ones where a box was missed.
			f0, f1, f2, f3 = (f0-n0)>>63, (f1-n1)>>63, (f2-n2)>>63, (f3-n3)>>63
			met := 4 + int(f0+f1+f2+f3)
			if met > 0 {
				// Sort by distance, with the child's number in the last bits.
				n0, n1, n2, n3 = n0&^3|f0&missed, n1&^3|f1&missed|1, n2&^3|f2&missed|2, n3&^3|f3&missed|3
				n0, n1 = least(n0, n1), most(n0, n1)
				n2, n3 = least(n2, n3), most(n2, n3)
				n0, n2 = least(n0, n2), most(n0, n2)
				n1, n3 = least(n1, n3), most(n1, n3)
				n1, n2 = least(n1, n2), most(n1, n2)
				// The nearest comes next. The others go on the stack, farthest
				// lowest; what was missed lands above the top and is lost.
				p1, p2, p3 := (top+(met-2)&7)&(stackSize-1), (top+(met-3)&7)&(stackSize-1), (top+(met-4)&7)&(stackSize-1)
				tr.stack[p1], tr.entry[p1] = nd.children[n1&3], n1
				tr.stack[p2], tr.entry[p2] = nd.children[n2&3], n2
				tr.stack[p3], tr.entry[p3] = nd.children[n3&3], n3
				top += met - 1
				at = nd.children[n0&3]
				continue
			}
		} else {
			first := int(^at >> 4)
			leaf := tr.triangles[first : first+int(^at&15)]
			for i := range leaf {
				g := &leaf[i]
				ax, ay, az := float32(g.a[0]), float32(g.a[1]), float32(g.a[2])
				bx, by, bz := float32(g.b[0])-ax, float32(g.b[1])-ay, float32(g.b[2])-az
				cx, cy, cz := float32(g.c[0])-ax, float32(g.c[1])-ay, float32(g.c[2])-az
				qx, qy, qz := d.y*cz-d.z*cy, d.z*cx-d.x*cz, d.x*cy-d.y*cx
				inv := 1 / (bx*qx + by*qy + bz*qz) // infinite in its plane: u or v fail then
				ax, ay, az = ox-ax, oy-ay, oz-az
				u := (ax*qx + ay*qy + az*qz) * inv
				if !(u >= 0) {
					continue
				}
				rx, ry, rz := ay*bz-az*by, az*bx-ax*bz, ax*by-ay*bx
				v := (d.x*rx + d.y*ry + d.z*rz) * inv
				if !(v >= 0 && u+v <= 1) {
					continue
				}
				t := (cx*rx + cy*ry + cz*rz) * inv
				if !(t > 0 && t < best) {
					continue
				}
				if shadow {
					m := &tr.materials[g.material]
					if m.kind == glass {
						h.passed = h.passed.mul(throughGlass(m, g, d))
						continue
					}
					h.triangle = first + i
					return
				}
				best = t
				bestFixed = int64(best*fixedOne) + fixedOne
				h.t, h.u, h.v, h.triangle = t*tr.step, u, v, first+i
			}
		}
		for {
			if top == 0 {
				return
			}
			top--
			if tr.entry[top&(stackSize-1)] <= bestFixed {
				at = tr.stack[top&(stackSize-1)]
				break
			}
		}
	}
}

// throughGlass is the part of straight light that one glass surface passes:
// little at grazing angles, where real glass bends it away.
func throughGlass(m *material, g *triangle, d vec) vec {
	n := g.normal()
	c := d.dot(n)
	c2 := c * c / n.dot(n)
	return m.colour.scale(0.15 + 0.85*c2)
}

// normal returns the flat triangle's normal, of any length.
func (g *triangle) normal() vec {
	a := vec{float32(g.a[0]), float32(g.a[1]), float32(g.a[2])}
	b := vec{float32(g.b[0]), float32(g.b[1]), float32(g.b[2])}
	c := vec{float32(g.c[0]), float32(g.c[1]), float32(g.c[2])}
	return b.sub(a).cross(c.sub(a))
}
