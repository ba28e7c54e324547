// Package demoscene owns what the demo renders: the path tracer of
// examples/pathtracer compiled to WebAssembly, its scene, and how the frame
// is cut into items.
//
// It promises that a plain build of the repository carries both files
// (embedded compressed, rebuilt by gen, compared by gen -check), that tile
// numbers run from 0 to Tiles-1 row by row, and that tiles rendered with
// Args assemble to exactly the pixels of one run with FullFrameArgs.
//
// It never touches the network; only RenderDirect runs the program, in a
// temporary folder.
package demoscene

import (
	_ "embed"
	"errors"
	"fmt"
	"image"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"lukechampine.com/blake3"
)

// The frame, in pixels and tiles, and the paths followed for each pixel.
const (
	Width  = 640
	Height = 360
	TilesX = 10
	TilesY = 8
	Tiles  = TilesX * TilesY
	SPP    = 5
	Seed   = 1
)

// Paths as the program sees them in its sandbox.
const (
	ScenePath  = "scene.bin"
	OutputPath = "out/tile.rgba"
)

//go:generate go run ./gen

//go:embed pathtracer.wasm.zst
var programZstd []byte

//go:embed scene.bin.zst
var sceneZstd []byte

// maxDecoded bounds what either embedded file may unpack to, in bytes.
const maxDecoded = 64 << 20

// Program returns the path tracer: a WASI preview 1 command module.
func Program() ([]byte, error) { return unpack("program", programZstd) }

// Scene returns the scene file, which the program wants to find at ScenePath.
func Scene() ([]byte, error) { return unpack("scene", sceneZstd) }

// unpack decodes Zstandard, which was chosen over gzip because it decodes
// both files in half the time; they come out only 3 % smaller.
func unpack(name string, compressed []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoded))
	if err != nil {
		return nil, fmt.Errorf("unpacking the demo's %s: %w", name, err)
	}
	defer d.Close()
	data, err := d.DecodeAll(compressed, nil)
	if err != nil {
		return nil, fmt.Errorf("the demo's embedded %s is damaged, run go generate ./internal/demoscene: %w", name, err)
	}
	return data, nil
}

// Args returns the program's arguments for one tile, without the program's
// own name. The tile is text, so that it can be the placeholder of a job's
// items.
func Args(tile string, seed uint64) []string {
	return append(frameArgs(Width, Height, SPP, seed), "-tiles", fmt.Sprintf("%dx%d", TilesX, TilesY), "-index", tile)
}

// FullFrameArgs returns the arguments that render the whole frame at once, to
// the same output path.
func FullFrameArgs(seed uint64) []string { return append(frameArgs(Width, Height, SPP, seed), "-all") }

func frameArgs(width, height, spp int, seed uint64) []string {
	return []string{
		"-scene", ScenePath, "-out", OutputPath,
		"-width", strconv.Itoa(width), "-height", strconv.Itoa(height),
		"-spp", strconv.Itoa(spp), "-seed", strconv.FormatUint(seed, 10),
	}
}

// ErrTiles means that the tiles do not make up the frame.
var ErrTiles = errors.New("the tiles do not make up the frame")

// Assemble puts the outputs of all tiles, in the order of their numbers, into
// one picture. It fails with ErrTiles if one is missing or of a wrong size.
func Assemble(tiles [][]byte) (*image.NRGBA, error) {
	return assemble(tiles, Width, Height, TilesX, TilesY)
}

func assemble(tiles [][]byte, width, height, columns, rows int) (*image.NRGBA, error) {
	if len(tiles) != columns*rows {
		return nil, fmt.Errorf("%w: %d of %d are there", ErrTiles, len(tiles), columns*rows)
	}
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i, pixels := range tiles {
		r := tileRect(i, width, height, columns, rows)
		if want := 4 * r.Dx() * r.Dy(); len(pixels) != want {
			return nil, fmt.Errorf("%w: tile %d has %d bytes, not %d", ErrTiles, i, len(pixels), want)
		}
		for y := r.Min.Y; y < r.Max.Y; y++ {
			row := pixels[4*r.Dx()*(y-r.Min.Y):]
			copy(img.Pix[img.PixOffset(r.Min.X, y):], row[:4*r.Dx()])
		}
	}
	return img, nil
}

// tileRect is the rectangle that the program renders for a tile.
func tileRect(index, width, height, columns, rows int) image.Rectangle {
	c, r := index%columns, index/columns
	return image.Rect(width*c/columns, height*r/rows, width*(c+1)/columns, height*(r+1)/rows)
}

// Digest returns BLAKE3-256 of the picture's 8-bit RGBA bytes, row by row,
// top left first.
func Digest(img *image.NRGBA) [32]byte {
	h := blake3.New(32, nil)
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		start := img.PixOffset(b.Min.X, y)
		h.Write(img.Pix[start : start+4*b.Dx()])
	}
	return [32]byte(h.Sum(nil))
}
