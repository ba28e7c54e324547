package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// The scene file, all numbers little-endian:
//
//	magic      8 bytes "GTSCENE1"
//	counts     5 x u32: vertices, triangles, nodes, materials, lights
//	grid       4 x f32: origin x, y, z and step of the vertex grid
//	camera     9 x f32: eye, target, tangent of half the vertical field of
//	           view, aperture radius, distance in focus
//	sky       12 x f32: zenith RGB, horizon RGB, direction of the glow, its
//	           strength, two unused
//	floor     12 x f32: RGB of both tile colours, tile side, coat strength,
//	           fade start, fade end, two unused. The floor is the plane y = 0.
//	materials  8 x f32 each: kind, RGB, roughness, three unused
//	lights    12 x f32 each: corner, two edges, emitted RGB. A light shines
//	           to the side that edge 1 x edge 2 points to.
//	mask       4096 x u16: a 64 x 64 blue-noise mask, the ranks 0 to 4095
//	triangles  20 bytes each, in the order of the tree's leaves: 9 x u16 corners
//	           a, b, c on the vertex grid, u16 material
//	nodes      64 bytes each: for each axis 8 x u16, lower and upper side of
//	           four children's boxes on the grid, then 4 x i32 children. A
//	           child > 0 is a node behind its parent; a child c < 0 is a leaf,
//	           ^c = first<<4 | count. Where there are fewer than four children,
//	           an empty leaf stands in a box turned inside out. Boxes are a
//	           step wider than what they hold.
//	vertices   3 x u32 for each triangle: numbers of its corners' normals
//	normals    3 x i16 each, of any length
const sceneMagic = "GTSCENE1"

const (
	maxVertices  = 1 << 22
	maxTriangles = 1 << 22
	maxMaterials = 256
	maxLights    = 16
	maxDepth     = 80 // of the tree, whose every level can take 3 of the stack
	maskSide     = 64
)

// Material kinds.
const (
	coated = iota // coloured diffuse base under a clear glossy coat
	metal         // coloured mirror with a rough lobe
	glass         // smooth, clear, coloured by what passes
	materialKinds
)

type material struct {
	kind      int
	colour    vec
	roughness float32
}

type light struct {
	corner, u, v, emit vec
	normal             vec
	across, upward     vec // u and v over their squared lengths
	area               float32
	share              float32 // of light samples that go here
}

// triangle is a record of the file, in steps of the vertex grid.
type triangle struct {
	a, b, c  [3]uint16
	material uint16
}

// node is a record of the file. It holds the boxes of its four children, so
// that a visit reads one record: lower and upper side of each in turn.
type node struct {
	x, y, z  [8]uint16
	children [4]int32
}

type scene struct {
	camera struct {
		eye, target            vec
		tangent, lens, focused float32
	}
	sky struct {
		zenith, horizon, glow vec
		strength              float32
	}
	floor struct {
		first, second                  vec
		tile, coat, fadeStart, fadeEnd float32
	}
	origin      vec     // of the vertex grid
	step, steps float32 // its step, and steps in a unit of length
	materials   []material
	lights      []light
	mask        []uint16
	triangles   []triangle
	nodes       []node
	corners     [][3]uint32
	normals     [][3]int16
}

var errTruncated = errors.New("the file is shorter than its header says: copy it again")

// reader walks over the file. Once data has run out every read gives zeros
// and short stays set.
type reader struct {
	data  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.data) {
		r.short = true
		r.data = nil
		return make([]byte, n)
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) u32() uint32  { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *reader) f32() float32 { return math.Float32frombits(r.u32()) }
func (r *reader) vec() vec     { return vec{r.f32(), r.f32(), r.f32()} }

// decodeScene checks everything the renderer relies on, so that a damaged
// file is refused here and cannot make a later index fail.
func decodeScene(data []byte) (*scene, error) {
	if !viewable(data) {
		return nil, errors.New("this program reads scenes on little-endian machines only")
	}
	r := &reader{data: data}
	if string(r.bytes(len(sceneMagic))) != sceneMagic {
		return nil, errors.New("not a scene file: it does not start with " + sceneMagic)
	}
	vertices, triangles, nodes := int(r.u32()), int(r.u32()), int(r.u32())
	materials, lights := int(r.u32()), int(r.u32())
	if vertices < 3 || vertices > maxVertices || triangles < 1 || triangles > maxTriangles ||
		nodes < 1 || nodes > triangles || materials < 1 || materials > maxMaterials || lights < 1 || lights > maxLights {
		return nil, errors.New("the counts in the header are out of bounds")
	}
	size := 4*(4+9+12+12+8*materials+12*lights) + 2*maskSide*maskSide + (20+12)*triangles + 64*nodes + 6*vertices
	if len(r.data) < size {
		return nil, errTruncated
	}
	s := &scene{}
	s.origin, s.step = r.vec(), r.f32()
	s.steps = 1 / s.step
	s.decodeSetting(r)
	if err := s.decodeMaterials(r, materials); err != nil {
		return nil, err
	}
	s.decodeLights(r, lights)
	s.mask = make([]uint16, maskSide*maskSide)
	maskBytes := r.bytes(2 * len(s.mask))
	for i := range s.mask {
		s.mask[i] = binary.LittleEndian.Uint16(maskBytes[2*i:])
	}
	s.triangles = view[triangle](r, triangles)
	s.nodes = view[node](r, nodes)
	s.corners = view[[3]uint32](r, triangles)
	s.normals = view[[3]int16](r, vertices)
	if r.short {
		return nil, errTruncated
	}
	return s, s.check()
}

// view reads n records without copying them: a tile takes a tenth of a
// second, and taking a hundred thousand records apart would be half of it.
func view[T any](r *reader, n int) []T {
	var record T
	b := r.bytes(n * int(unsafe.Sizeof(record)))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// viewable reports whether records in memory look as they do in the file.
func viewable(data []byte) bool {
	one := [2]byte{1, 0}
	aligned := uintptr(unsafe.Pointer(unsafe.SliceData(data)))%4 == 0
	return aligned && binary.NativeEndian.Uint16(one[:]) == 1
}

// check refuses records that name what is not there, and trees that are not
// trees. Wrong boxes are not noticed: they spoil the picture but harm nothing.
func (s *scene) check() error {
	vertices, bad := int64(len(s.normals)), int64(0)
	for i := range s.corners {
		// A sign bit stays for every number past the end.
		c, m := &s.corners[i], int64(s.triangles[i].material)
		bad |= (vertices - 1 - int64(c[0])) | (vertices - 1 - int64(c[1])) | (vertices - 1 - int64(c[2])) | (int64(len(s.materials)) - 1 - m)
	}
	if bad < 0 {
		return errors.New("a triangle names a vertex or material that is not there")
	}
	depth := make([]uint8, len(s.nodes))
	for i := range s.nodes {
		for _, child := range &s.nodes[i].children {
			if !s.validChild(i, child) {
				return fmt.Errorf("node %d of the tree has a child that is not there", i)
			}
			if child > 0 {
				// With two parents a short file could hold an endless walk.
				if depth[child] > 0 {
					return fmt.Errorf("node %d of the tree has two parents", child)
				}
				depth[child] = depth[i] + 1
			}
		}
		if depth[i] >= maxDepth {
			return fmt.Errorf("the tree is deeper than %d levels", maxDepth)
		}
	}
	return nil
}

func (s *scene) validChild(parent int, child int32) bool {
	if child >= 0 {
		return int(child) > parent && int(child) < len(s.nodes)
	}
	return int(^child>>4)+int(^child&15) <= len(s.triangles)
}

func (s *scene) decodeSetting(r *reader) {
	s.camera.eye, s.camera.target = r.vec(), r.vec()
	s.camera.tangent, s.camera.lens, s.camera.focused = r.f32(), r.f32(), r.f32()
	s.sky.zenith, s.sky.horizon, s.sky.glow = r.vec(), r.vec(), r.vec()
	s.sky.strength = r.f32()
	r.bytes(8)
	s.floor.first, s.floor.second = r.vec(), r.vec()
	s.floor.tile, s.floor.coat, s.floor.fadeStart, s.floor.fadeEnd = r.f32(), r.f32(), r.f32(), r.f32()
	r.bytes(8)
}

func (s *scene) decodeMaterials(r *reader, n int) error {
	s.materials = make([]material, n)
	for i := range s.materials {
		kind := r.f32()
		if !(kind >= 0 && kind < materialKinds) {
			return fmt.Errorf("material %d is of no known kind", i)
		}
		s.materials[i] = material{kind: int(kind), colour: r.vec(), roughness: r.f32()}
		r.bytes(12)
	}
	return nil
}

// decodeLights gives each light a share of the samples by its power.
func (s *scene) decodeLights(r *reader, n int) {
	s.lights = make([]light, n)
	var total float32
	for i := range s.lights {
		l := &s.lights[i]
		l.corner, l.u, l.v, l.emit = r.vec(), r.vec(), r.vec(), r.vec()
		across := l.u.cross(l.v)
		l.area = sqrt(across.dot(across))
		l.normal = across.scale(1 / l.area)
		l.across, l.upward = l.u.scale(1/l.u.dot(l.u)), l.v.scale(1/l.v.dot(l.v))
		l.share = l.area * l.emit.luminance()
		total += l.share
	}
	for i := range s.lights {
		s.lights[i].share /= total
	}
}

// normal returns the normal at corner k of a triangle, not of unit length.
func (s *scene) normal(triangle, k int) vec {
	n := &s.normals[s.corners[triangle][k]]
	return vec{float32(n[0]), float32(n[1]), float32(n[2])}
}
