package main

import "math"

// vec is a point, a direction or a linear RGB colour.
type vec struct{ x, y, z float32 }

func (a vec) add(b vec) vec            { return vec{a.x + b.x, a.y + b.y, a.z + b.z} }
func (a vec) sub(b vec) vec            { return vec{a.x - b.x, a.y - b.y, a.z - b.z} }
func (a vec) mul(b vec) vec            { return vec{a.x * b.x, a.y * b.y, a.z * b.z} }
func (a vec) scale(s float32) vec      { return vec{a.x * s, a.y * s, a.z * s} }
func (a vec) dot(b vec) float32        { return a.x*b.x + a.y*b.y + a.z*b.z }
func (a vec) mix(b vec, t float32) vec { return a.scale(1 - t).add(b.scale(t)) }
func (a vec) luminance() float32       { return 0.2126*a.x + 0.7152*a.y + 0.0722*a.z }

func (a vec) cross(b vec) vec {
	return vec{a.y*b.z - a.z*b.y, a.z*b.x - a.x*b.z, a.x*b.y - a.y*b.x}
}

func (a vec) unit() vec { return a.scale(1 / sqrt(a.dot(a))) }

// reflect mirrors the direction d at the plane with unit normal n.
func (d vec) reflect(n vec) vec { return d.sub(n.scale(2 * d.dot(n))) }

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// lesser and greater are min and max without branches or calls, both of which
// are dear in WebAssembly. They are for finite numbers of similar size.
func lesser(a, b float32) float32 {
	return float32((float64(a) + float64(b) - math.Abs(float64(a)-float64(b))) * 0.5)
}

func greater(a, b float32) float32 {
	return float32((float64(a) + float64(b) + math.Abs(float64(a)-float64(b))) * 0.5)
}

func clamp01(x float32) float32 { return lesser(greater(x, 0), 1) }

// smoothstep rises from 0 at a to 1 at b with flat ends.
func smoothstep(a, b, x float32) float32 {
	t := clamp01((x - a) / (b - a))
	return t * t * (3 - 2*t)
}

// frame returns two unit vectors that form a right-handed basis with the
// unit vector n (Duff et al., Building an Orthonormal Basis, Revisited).
func (n vec) frame() (s, t vec) {
	sign := float32(math.Copysign(1, float64(n.z)))
	a := -1 / (sign + n.z)
	b := n.x * n.y * a
	return vec{1 + sign*n.x*n.x*a, sign * b, -sign * n.x}, vec{b, sign + n.y*n.y*a, -n.y}
}

// turn returns cosine and sine of u full turns, u in [0, 1): short
// polynomials on an eighth of a turn either way, doubled twice. They are good
// to 1e-4, which is plenty for sampling.
func turn(u float32) (cos, sin float32) {
	x := (u - 0.5) * (math.Pi / 2)
	x2 := x * x
	s := x * (1 + x2*(-1.0/6+x2*(1.0/120)))
	c := 1 + x2*(-0.5+x2*(1.0/24+x2*(-1.0/720)))
	c, s = c*c-s*s, 2*c*s
	return s*s - c*c, -2 * c * s // half a turn on, since x started there
}
