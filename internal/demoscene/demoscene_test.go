package demoscene

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// The small frame that the tests render.
const (
	smallWidth, smallHeight = 64, 36
	smallX, smallY          = 3, 2
)

// smallDigest is the digest of the small frame. It changes with the program
// and the scene, and with nothing else.
const smallDigest = "78edffd375d34d05ece123b78b0bfbf2fdb3a691eaa84f201660f310e892ebda"

// TestEmbeddedProgram runs the embedded program on the embedded scene, as a
// provider does. The program is compiled once for all parts.
func TestEmbeddedProgram(t *testing.T) {
	t.Parallel()
	run := sandbox(t)
	t.Run("small frame", func(t *testing.T) { testSmallFrame(t, run) })
	t.Run("demo tile", func(t *testing.T) {
		// A cheap tile of the demo's own frame: only sky.
		if got, want := len(run(Args("0", Seed))), 4*(Width/TilesX)*(Height/TilesY); got != want {
			t.Errorf("the tile has %d bytes, want %d", got, want)
		}
	})
}

// testSmallFrame asserts that tiles make up the full frame, and that the
// picture is the known one.
func testSmallFrame(t *testing.T, run func(args []string) []byte) {
	args := frameArgs(smallWidth, smallHeight, 2, Seed)
	full := run(append(args, "-all"))
	var tiles [][]byte
	for i := range smallX * smallY {
		tiles = append(tiles, run(append(args, "-tiles", "3x2", "-index", string(rune('0'+i)))))
	}
	img, err := assemble(tiles, smallWidth, smallHeight, smallX, smallY)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(img.Pix, full) {
		t.Error("the assembled tiles differ from the full frame")
	}
	digest := Digest(img)
	if got := hex.EncodeToString(digest[:]); got != smallDigest {
		t.Errorf("digest %s, want %s: if program or scene changed on purpose, put the new one here", got, smallDigest)
	}
}

func TestAssembleRefusesWhatIsNotAFrame(t *testing.T) {
	t.Parallel()
	tiles := make([][]byte, Tiles)
	for i := range tiles {
		tiles[i] = make([]byte, 4*(Width/TilesX)*(Height/TilesY))
	}
	if _, err := Assemble(tiles); err != nil {
		t.Fatal(err)
	}
	if _, err := Assemble(tiles[1:]); !errors.Is(err, ErrTiles) {
		t.Errorf("a missing tile: got %v", err)
	}
	tiles[3] = tiles[3][1:]
	if _, err := Assemble(tiles); !errors.Is(err, ErrTiles) {
		t.Errorf("a short tile: got %v", err)
	}
}

func TestEmbeddedFilesAreSmall(t *testing.T) {
	t.Parallel()
	if n := len(programZstd) + len(sceneZstd); n > 4<<20 {
		t.Errorf("the embedded files have %d bytes: keep them under 4 MiB", n)
	}
}

// sandbox returns a function that runs the embedded program in a folder with
// the scene and returns what it wrote.
func sandbox(t *testing.T) func(args []string) []byte {
	t.Helper()
	program, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	scene, err := Scene()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ScenePath), scene, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	rt := wazero.NewRuntime(ctx)
	t.Cleanup(func() { rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	compiled, err := rt.CompileModule(ctx, program)
	if err != nil {
		t.Fatal(err)
	}
	return func(args []string) []byte {
		t.Helper()
		var stderr bytes.Buffer
		config := wazero.NewModuleConfig().WithName("").WithStderr(&stderr).
			WithArgs(append([]string{"pathtracer"}, args...)...).
			WithFSConfig(wazero.NewFSConfig().WithDirMount(dir, "/"))
		if _, err := rt.InstantiateModule(ctx, compiled, config); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, &stderr)
		}
		out, err := os.ReadFile(filepath.Join(dir, OutputPath))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}
