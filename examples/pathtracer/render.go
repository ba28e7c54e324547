package main

import (
	"image"
	"math"
)

// Bounds of a path.
const (
	maxBounces        = 9 // surfaces in all, mostly inside glass
	maxDiffuseBounces = 2
	// Light found after the first bounce counts at most this much per
	// channel: one lucky path must not leave a white dot.
	maxIndirect = 3
	// offset keeps a new ray from meeting the surface it starts on.
	offset = 1e-3
)

type renderer struct {
	tracer
	pattern       *pattern
	width, height int
	right, up     vec // half the image plane's extent at distance 1
	forward       vec
	lensX, lensY  vec
	tone          [toneSteps + 1]uint8
}

func newRenderer(s *scene, width, height, samples int, seed uint64) *renderer {
	r := &renderer{width: width, height: height, pattern: newPattern(samples, seed, s.mask)}
	r.scene = s
	cam := &s.camera
	r.forward = cam.target.sub(cam.eye).unit()
	r.lensX = r.forward.cross(vec{0, 1, 0}).unit()
	r.lensY = r.lensX.cross(r.forward)
	r.right = r.lensX.scale(cam.tangent * float32(width) / float32(height))
	r.up = r.lensY.scale(cam.tangent)
	r.lensX, r.lensY = r.lensX.scale(cam.lens), r.lensY.scale(cam.lens)
	r.tone = toneTable()
	return r
}

// render returns the pixels of rect as 8-bit RGBA, row by row.
func (r *renderer) render(rect image.Rectangle) []byte {
	out := make([]byte, 0, 4*rect.Dx()*rect.Dy())
	for y := rect.Min.Y; y < rect.Max.Y; y++ {
		for x := rect.Min.X; x < rect.Max.X; x++ {
			c := r.pixel(x, y)
			out = append(out, r.display(c.x), r.display(c.y), r.display(c.z), 255)
		}
	}
	return out
}

// pixel returns the mean light over the pixel's paths.
func (r *renderer) pixel(x, y int) vec {
	var sum vec
	for s := range r.pattern.samples {
		u, v := r.pattern.at(pairPixel, s, x, y)
		fx := (float32(x)+0.5+tent(u))/float32(r.width)*2 - 1
		fy := 1 - (float32(y)+0.5+tent(v))/float32(r.height)*2
		d := r.forward.add(r.right.scale(fx)).add(r.up.scale(fy))
		o := r.camera.eye
		if r.camera.lens > 0 {
			radius, angle := r.pattern.at(pairLens, s, x, y)
			cos, sin := turn(angle)
			radius = sqrt(radius)
			shift := r.lensX.scale(cos * radius).add(r.lensY.scale(sin * radius))
			o = o.add(shift)
			d = d.sub(shift.scale(1 / r.camera.focused))
		}
		sum = sum.add(r.path(o, d.unit(), x, y, s))
	}
	return sum.scale(1 / float32(r.pattern.samples))
}

// tent turns a uniform number into an offset from the pixel's centre with a
// triangular density, which is the reconstruction filter.
func tent(u float32) float32 {
	const radius = 0.85
	side := 2*u - 1
	out := 1 - sqrt(1-float32(math.Abs(float64(side))))
	return radius * float32(math.Copysign(float64(out), float64(side)))
}

// surface is what a ray met.
type surface struct {
	point, normal vec // the normal faces the ray
	geometric     vec // of the flat triangle, facing the ray
	kind          int
	colour        vec
	roughness     float32
	coat          float32 // reflectance of a coat head on
	inside        bool    // the ray came from behind the surface
}

// path follows light backwards from the eye and returns what it brings.
func (r *renderer) path(o, d vec, x, y, sample int) vec {
	var light vec
	carry := vec{1, 1, 1}
	// Lamps met by chance count until the first diffuse surface. From there
	// on they are sampled, and what mirrors and glass gather on one spot is
	// left out: it would come as white dots, not as caustics.
	direct := true
	diffuse := 0
	var h hit
	var at surface
	for bounce := range maxBounces {
		limit := float32(math.MaxFloat32)
		onFloor := false
		if d.y < -1e-6 {
			if t := -o.y / d.y; t > offset {
				limit, onFloor = t, true
			}
		}
		r.closest(o, d, limit, &h)
		if h.triangle >= 0 {
			limit, onFloor = h.t, false
		}
		if direct && bounce > 0 { // the camera does not see the lamps
			if seen, shines := r.shining(o, d, limit); shines {
				return light.add(bounded(carry.mul(seen), bounce))
			}
		}
		if h.triangle < 0 && !onFloor {
			return light.add(bounded(carry.mul(r.background(d)), bounce))
		}
		if onFloor {
			fade := r.floorAt(o, d, limit, &at)
			if fade > 0 {
				light = light.add(bounded(carry.mul(r.background(d)).scale(fade), bounce))
				if fade >= 1 {
					return light
				}
				carry = carry.scale(1 - fade)
			}
		} else {
			r.surfaceAt(o, d, &h, &at)
		}

		first := pairBounce + pairsABounce*bounce
		u, v := r.pattern.at(first+pairScatter, sample, x, y)
		lobe, pick := r.pattern.at(first+pairChoice, sample, x, y)
		switch at.kind {
		case glass:
			d, carry = refract(d, carry, &at, lobe)
			direct = diffuse == 0
		case metal:
			cos := -d.dot(at.normal)
			d = glossy(d, &at, u, v)
			if d.dot(at.geometric) <= 0 {
				return light
			}
			carry = carry.mul(at.colour.mix(vec{1, 1, 1}, fresnel(0, cos)))
			direct = diffuse == 0
		default:
			// The base's direct light always counts; one of the lobes goes on.
			f := float32(0)
			if diffuse == 0 {
				f = fresnel(at.coat, -d.dot(at.normal))
			}
			base := carry.mul(at.colour).scale(1 - f)
			lu, lv := r.pattern.at(first+pairLight, sample, x, y)
			light = light.add(bounded(base.mul(r.sampleLight(&at, pick, lu, lv)), bounce))
			p := coatShare(f)
			if lobe < p {
				d = glossy(d, &at, u, v)
				if d.dot(at.geometric) <= 0 {
					return light
				}
				carry = carry.scale(f / p)
				direct = true
				break
			}
			// Roulette: what a dark surface sends on is faint, so fewer paths
			// follow it and count for more.
			carry = base.scale(1 / (1 - p))
			q := lesser(1, 2.5*greater(carry.x, greater(carry.y, carry.z)))
			if lobe-p >= q*(1-p) {
				return light
			}
			carry = carry.scale(1 / q)
			diffuse++
			if diffuse >= maxDiffuseBounces {
				// The rest of the light is soft: a part of the sky stands for it.
				return light.add(carry.mul(r.sky.horizon).scale(0.35))
			}
			d = diffuseDirection(at.normal, u, v)
			if d.dot(at.geometric) <= 0 {
				return light
			}
			direct = false
		}
		side := at.geometric
		if d.dot(side) < 0 {
			side = side.scale(-1)
		}
		o = at.point.add(side.scale(offset))
		if bounce >= 2 {
			// Roulette again, for what glass and mirrors sent on.
			q := lesser(0.95, greater(carry.x, greater(carry.y, carry.z))*1.5)
			if pick*0.999 >= q {
				return light
			}
			carry = carry.scale(1 / q)
		}
	}
	return light
}

// coatShare is the part of the paths that follow a coat's reflection.
// Reflected lamps need more than their part of the energy, and round shares
// fall alike on all pixels.
func coatShare(reflectance float32) float32 {
	switch {
	case reflectance <= 0:
		return 0
	case reflectance < 0.25:
		return 0.25
	case reflectance < 0.6:
		return 0.5
	}
	return 0.75
}

// bounded limits what an indirect path may bring.
func bounded(c vec, bounce int) vec {
	if bounce == 0 {
		return c
	}
	return vec{lesser(c.x, maxIndirect), lesser(c.y, maxIndirect), lesser(c.z, maxIndirect)}
}

// surfaceAt describes the mesh where the ray met it.
func (r *renderer) surfaceAt(o, d vec, h *hit, at *surface) {
	g := &r.triangles[h.triangle]
	a, b, c := r.normal(h.triangle, 0), r.normal(h.triangle, 1), r.normal(h.triangle, 2)
	m := &r.materials[g.material]
	at.point = o.add(d.scale(h.t))
	at.geometric = g.normal().unit()
	at.normal = a.scale(1 - h.u - h.v).add(b.scale(h.u)).add(c.scale(h.v)).unit()
	at.kind, at.colour, at.roughness, at.coat = m.kind, m.colour, m.roughness, 0.045
	at.inside = d.dot(at.geometric) > 0
	if at.inside {
		at.geometric, at.normal = at.geometric.scale(-1), at.normal.scale(-1)
	}
	// A smoothed normal may turn away from the ray at outlines.
	if d.dot(at.normal) > -0.02 {
		at.normal = at.geometric
	}
}

// floorAt describes the polished floor and returns how far it has faded into
// the background, 0 to 1.
func (r *renderer) floorAt(o, d vec, t float32, at *surface) float32 {
	f := &r.floor
	p := o.add(d.scale(t))
	fade := smoothstep(f.fadeStart, f.fadeEnd, sqrt(p.x*p.x+p.z*p.z))
	at.point = vec{p.x, 0, p.z}
	at.normal, at.geometric = vec{0, 1, 0}, vec{0, 1, 0}
	at.kind, at.roughness, at.coat, at.inside = coated, 0.02, f.coat, false
	// Tiles stand on their corners.
	a := (p.x + p.z) / f.tile
	b := (p.x - p.z) / f.tile
	fa, fb := math.Floor(float64(a)), math.Floor(float64(b))
	at.colour = f.first
	if (int(fa)+int(fb))&1 != 0 {
		at.colour = f.second
	}
	// A thin dark joint between them.
	const joint = 0.012
	ea, eb := a-float32(fa), b-float32(fb)
	if lesser(lesser(ea, 1-ea), lesser(eb, 1-eb)) < joint {
		at.colour = at.colour.scale(0.45)
	}
	return fade
}

// background is the studio around the scene: a gradient with a broad glow.
func (r *renderer) background(d vec) vec {
	s := &r.sky
	up := greater(d.y, -d.y*0.25)
	c := s.horizon.mix(s.zenith, up*(2-up))
	g := greater(d.dot(s.glow), 0)
	g *= g
	return c.add(s.horizon.scale(s.strength * g * g))
}

// shining returns the light of the nearest lamp that the ray meets head on.
func (r *renderer) shining(o, d vec, limit float32) (vec, bool) {
	var found vec
	shines := false
	for i := range r.lights {
		l := &r.lights[i]
		cos := d.dot(l.normal)
		if cos >= -1e-6 {
			continue
		}
		t := l.corner.sub(o).dot(l.normal) / cos
		if t <= 0 || t >= limit {
			continue
		}
		p := o.add(d.scale(t)).sub(l.corner)
		a, b := p.dot(l.across), p.dot(l.upward)
		if lesser(lesser(a, 1-a), lesser(b, 1-b)) < 0 {
			continue
		}
		limit, shines = t, true
		// Softboxes fall off towards their rim.
		found = l.emit.scale(rim(a) * rim(b))
	}
	return found, shines
}

// rim is a softbox's brightness across one side, 1 in the middle.
func rim(a float32) float32 { return smoothstep(0, 0.08, lesser(a, 1-a)) }

// sampleLight returns the light that a diffuse white surface sends on from
// one point of one lamp.
func (r *renderer) sampleLight(at *surface, pick, u, v float32) vec {
	i := 0
	for i < len(r.lights)-1 && pick >= r.lights[i].share {
		pick -= r.lights[i].share
		i++
	}
	l := &r.lights[i]
	to := l.corner.add(l.u.scale(u)).add(l.v.scale(v)).sub(at.point)
	d2 := to.dot(to)
	d := sqrt(d2)
	to = to.scale(1 / d)
	here, there := to.dot(at.normal), -to.dot(l.normal)
	if lesser(lesser(here, there), to.dot(at.geometric)) <= 0 {
		return vec{}
	}
	strength := here * there * l.area * rim(u) * rim(v) / (math.Pi * d2 * l.share)
	o := at.point.add(at.geometric.scale(offset))
	return r.visible(o, to, d-2*offset).mul(l.emit).scale(strength)
}

// fresnel is Schlick's approximation.
func fresnel(headOn, cos float32) float32 {
	m := clamp01(1 - cos)
	m2 := m * m
	return headOn + (1-headOn)*m2*m2*m
}

// glossy mirrors d at a facet drawn around the normal (GGX).
func glossy(d vec, at *surface, u, v float32) vec {
	if at.roughness <= 0 {
		return d.reflect(at.normal)
	}
	a := at.roughness * at.roughness
	cos2 := (1 - u) / (1 + (a*a-1)*u)
	sin := sqrt(greater(0, 1-cos2))
	c, s := turn(v)
	t, b := at.normal.frame()
	facet := at.normal.scale(sqrt(cos2)).add(t.scale(sin * c)).add(b.scale(sin * s))
	if d.dot(facet) > 0 {
		facet = at.normal
	}
	return d.reflect(facet)
}

// diffuseDirection draws a direction around n by Lambert's cosine.
func diffuseDirection(n vec, u, v float32) vec {
	radius := sqrt(u)
	c, s := turn(v)
	t, b := n.frame()
	return n.scale(sqrt(greater(0, 1-u))).add(t.scale(radius * c)).add(b.scale(radius * s))
}

// refract sends the path through a glass surface or mirrors it there.
func refract(d, carry vec, at *surface, lobe float32) (vec, vec) {
	const index = 1.5
	eta := float32(1 / index)
	if at.inside {
		eta = index
	}
	cos := -d.dot(at.normal)
	k := 1 - eta*eta*(1-cos*cos)
	if k <= 0 {
		return d.reflect(at.normal), carry
	}
	through := sqrt(k)
	// Schlick wants the angle on the thin side.
	f := fresnel(0.04, cos)
	if at.inside {
		f = fresnel(0.04, through)
	}
	p := 0.1 + 0.8*f
	if lobe < p {
		return d.reflect(at.normal), carry.scale(f / p)
	}
	out := d.scale(eta).add(at.normal.scale(eta*cos - through)).unit()
	return out, carry.mul(at.colour).scale((1 - f) / (1 - p))
}

// toneSteps is the resolution of the display curve over [0, 1].
const toneSteps = 4096

// toneTable is the sRGB transfer curve in 8 bits.
func toneTable() [toneSteps + 1]uint8 {
	var t [toneSteps + 1]uint8
	for i := range t {
		x := float64(i) / toneSteps
		if x <= 0.0031308 {
			x *= 12.92
		} else {
			x = 1.055*math.Pow(x, 1/2.4) - 0.055
		}
		t[i] = uint8(x*255 + 0.5)
	}
	return t
}

// display compresses linear light into the screen's range (Narkowicz's fit of
// the ACES film curve) and encodes it.
func (r *renderer) display(x float32) uint8 {
	const brightest = 1e4
	if !(x > 0) { // also not a number, which a damaged scene may cause
		return 0
	}
	if x > brightest {
		x = brightest
	}
	x = clamp01(x * (2.51*x + 0.03) / (x*(2.43*x+0.59) + 0.14))
	return r.tone[int(x*toneSteps+0.5)]
}
