package main

import (
	_ "embed"
	"fmt"
	"strings"
)

// teapotData is Martin Newell's Utah teapot of 1975 as 32 bicubic Bézier
// patches: the control points, then 16 point numbers a patch. The numbers have
// been published and handed on freely, without conditions, ever since.
//
//go:embed teapot.txt
var teapotData string

type patch [4][4]point

// teapotPart names what a patch belongs to.
type teapotPart int

const (
	teapotBody teapotPart = iota
	teapotRim
	teapotHandle
	teapotSpout
	teapotKnob
	teapotLid
	teapotBottom
)

// partOf follows the order of the data.
func partOf(index int) teapotPart {
	switch {
	case index < 4:
		return teapotRim
	case index < 12:
		return teapotBody
	case index < 16:
		return teapotHandle
	case index < 20:
		return teapotSpout
	case index < 24:
		return teapotKnob
	case index < 28:
		return teapotLid
	}
	return teapotBottom
}

func readTeapot() ([]patch, error) {
	in := strings.NewReader(teapotData)
	var points, patches int
	if _, err := fmt.Fscanf(in, "vertices %d\n", &points); err != nil {
		return nil, fmt.Errorf("teapot data: %w", err)
	}
	control := make([]point, points)
	for i := range control {
		// The data has z up, the scene y.
		p := &control[i]
		if _, err := fmt.Fscanln(in, &p.x, &p.z, &p.y); err != nil {
			return nil, fmt.Errorf("teapot data, point %d: %w", i, err)
		}
		p.z = -p.z
	}
	if _, err := fmt.Fscanf(in, "patches %d\n", &patches); err != nil {
		return nil, fmt.Errorf("teapot data: %w", err)
	}
	out := make([]patch, patches)
	for i := range out {
		for k := range 16 {
			var index int
			if _, err := fmt.Fscan(in, &index); err != nil || index < 0 || index >= points {
				return nil, fmt.Errorf("teapot data, patch %d: no point %d", i, index)
			}
			out[i][k/4][k%4] = control[index]
		}
		if part := partOf(i); part == teapotKnob || part == teapotLid {
			out[i].widen(1.077) // the original lid is too narrow for its rim
		}
	}
	return out, nil
}

func (p *patch) widen(by float64) {
	for i := range p {
		for j := range p[i] {
			p[i][j].x *= by
			p[i][j].z *= by
		}
	}
}

// addTeapot adds the teapot, each patch as cells x cells quads.
func (m *mesh) addTeapot(patches []patch, cells int, place func(point) point, mat func(teapotPart) uint8) {
	centre := place(point{})
	for i := range patches {
		p := &patches[i]
		m.addGrid(cells, cells, mat(partOf(i)), func(u, v float64) (point, point) {
			return place(p.at(u, v)), place(p.normal(u, v)).sub(centre).unit()
		})
	}
}

func (p *patch) at(u, v float64) point {
	var sum point
	bu, bv := bernstein(u), bernstein(v)
	for i := range 4 {
		for j := range 4 {
			sum = sum.add(p[i][j].scale(bu[i] * bv[j]))
		}
	}
	return sum
}

// normal steps off the patch's edges where it degenerates to a point there
// (the tips of knob and bottom).
func (p *patch) normal(u, v float64) point {
	const inset = 1e-3
	u, v = min(max(u, inset), 1-inset), min(max(v, inset), 1-inset)
	return surfaceNormal(p.at, u, v)
}

func bernstein(t float64) [4]float64 {
	s := 1 - t
	return [4]float64{s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t}
}
