// Command pathtracer renders a triangle scene by path tracing, one tile or
// one full frame per run. It is an ordinary command-line program, written
// with the standard library only; compiled with GOOS=wasip1 GOARCH=wasm it
// runs under any WASI preview 1 host, and the network's demo uses it as the
// program that strangers run.
//
// It promises that a pixel depends only on the scene file, the frame size,
// the sample count, the seed and the pixel's own coordinates: there is no
// shared random state and no filter across pixels, so separately rendered
// tiles assemble to exactly the bytes of a full frame. Compiled to
// WebAssembly it gives the same bytes everywhere. A native build gives those
// bytes too, except on machines whose Go compiler fuses multiply and add
// (arm64, ppc64, s390x, riscv64).
//
// It never starts goroutines, opens no network connection, and touches no
// files but the scene it reads and the one output it writes: raw 8-bit RGBA,
// row by row, top left first, without a header.
package main

import (
	"errors"
	"flag"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"runtime/debug"
)

func main() {
	// One run allocates the scene and one tile and then ends.
	debug.SetGCPercent(-1)
	if err := run(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "pathtracer:", err)
		os.Exit(1)
	}
}

// options are the parsed command line.
type options struct {
	scene, out    string
	width, height int
	samples       int
	seed          uint64
	tile, grid    string
	index         int
	all           bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("pathtracer", flag.ContinueOnError)
	flags.StringVar(&o.scene, "scene", "scene.bin", "scene `file` to read")
	flags.StringVar(&o.out, "out", "", "`file` to write: raw 8-bit RGBA, top left first")
	flags.IntVar(&o.width, "width", 640, "frame width in pixels")
	flags.IntVar(&o.height, "height", 360, "frame height in pixels")
	flags.IntVar(&o.samples, "spp", 16, "paths per pixel")
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the sample sequence")
	flags.StringVar(&o.tile, "tile", "", "render the rectangle `X,Y,W,H` in pixels")
	flags.StringVar(&o.grid, "tiles", "", "divide the frame into `CxR` tiles; -index picks one")
	flags.IntVar(&o.index, "index", 0, "tile number in the grid, row by row from 0")
	flags.BoolVar(&o.all, "all", false, "render the full frame")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: every setting is a flag, see -help", flags.Arg(0))
	}
	return o, nil
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	rect, err := o.rectangle()
	if err != nil {
		return err
	}
	if o.out == "" {
		return errors.New("no output named: add -out FILE")
	}
	if o.samples < 1 || o.samples > maxSamples {
		return fmt.Errorf("-spp %d: choose 1 to %d", o.samples, maxSamples)
	}
	data, err := os.ReadFile(o.scene)
	if err != nil {
		return fmt.Errorf("reading the scene: %w", err)
	}
	sc, err := decodeScene(data)
	if err != nil {
		return fmt.Errorf("scene %s: %w", o.scene, err)
	}
	pixels := newRenderer(sc, o.width, o.height, o.samples, o.seed).render(rect)
	if dir := filepath.Dir(o.out); dir != "." {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the output's folder: %w", err)
		}
	}
	if err := os.WriteFile(o.out, pixels, 0o644); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// maxSide bounds the frame's sides, in pixels: 4 GiB of output at most.
const maxSide = 1 << 15

// rectangle returns the part of the frame that the options ask for.
func (o options) rectangle() (image.Rectangle, error) {
	var none image.Rectangle
	if o.width < 1 || o.height < 1 || o.width > maxSide || o.height > maxSide {
		return none, fmt.Errorf("frame of %dx%d pixels: each side is 1 to %d", o.width, o.height, maxSide)
	}
	frame := image.Rect(0, 0, o.width, o.height)
	ways := 0
	for _, asked := range []bool{o.all, o.tile != "", o.grid != ""} {
		if asked {
			ways++
		}
	}
	switch {
	case ways != 1:
		return none, errors.New("say what to render with exactly one of -all, -tile X,Y,W,H and -tiles CxR -index I")
	case o.tile != "":
		return parseTile(o.tile, frame)
	case o.grid != "":
		return gridTile(o.grid, o.index, frame)
	}
	return frame, nil
}

func parseTile(text string, frame image.Rectangle) (image.Rectangle, error) {
	var x, y, w, h int
	if _, err := fmt.Sscanf(text, "%d,%d,%d,%d", &x, &y, &w, &h); err != nil {
		return image.Rectangle{}, fmt.Errorf("-tile %q: want X,Y,W,H in pixels", text)
	}
	// Checked one by one, because sums of huge numbers wrap around.
	if x < 0 || y < 0 || w < 1 || h < 1 || x >= frame.Max.X || y >= frame.Max.Y || w > frame.Max.X-x || h > frame.Max.Y-y {
		return image.Rectangle{}, fmt.Errorf("-tile %q: not inside the frame of %dx%d pixels", text, frame.Max.X, frame.Max.Y)
	}
	return image.Rect(x, y, x+w, y+h), nil
}

// gridTile cuts the frame so that tiles differ by at most one pixel a side.
func gridTile(grid string, index int, frame image.Rectangle) (image.Rectangle, error) {
	var columns, rows int
	if _, err := fmt.Sscanf(grid, "%dx%d", &columns, &rows); err != nil {
		return image.Rectangle{}, fmt.Errorf("-tiles %q: want columns x rows, as 10x8", grid)
	}
	if columns < 1 || rows < 1 || columns > frame.Max.X || rows > frame.Max.Y {
		return image.Rectangle{}, fmt.Errorf("-tiles %q: 1 to %d columns and 1 to %d rows fit this frame", grid, frame.Max.X, frame.Max.Y)
	}
	if index < 0 || index >= columns*rows {
		return image.Rectangle{}, fmt.Errorf("-index %d: the grid %s has tiles 0 to %d", index, grid, columns*rows-1)
	}
	c, r := index%columns, index/columns
	return image.Rect(frame.Max.X*c/columns, frame.Max.Y*r/rows,
		frame.Max.X*(c+1)/columns, frame.Max.Y*(r+1)/rows), nil
}
