// Command gen builds the two files that package demoscene embeds: the path
// tracer compiled to WebAssembly and its scene, both compressed. It runs in
// the repository's root or anywhere below it.
//
// The scene comes out byte for byte the same everywhere. The program does for
// the same version of Go; toolchain.txt keeps the one that built it. With
// -check nothing is written: the files are rebuilt in memory and compared,
// and under another version of Go, the pictures that both programs render.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/gotong-network/gotong/internal/demoscene"
)

func main() {
	check := flag.Bool("check", false, "compare the embedded files with what the sources give, write nothing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "demoscene/gen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	scene, err := encodeScene()
	if err != nil {
		return err
	}
	program, err := buildProgram(root)
	if err != nil {
		return err
	}
	folder := filepath.Join(root, "internal", "demoscene")
	if check {
		return compare(folder, program, scene)
	}
	return write(folder, program, scene)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("not inside the module: run it in the repository")
	}
	return filepath.Dir(mod), nil
}

// buildProgram compiles the path tracer. Settings of the caller's that would
// change the bytes are overridden.
func buildProgram(root string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "demoscene")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "pathtracer.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./examples/pathtracer")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWASM=", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the path tracer: %w\n%s", err, msg)
	}
	return os.ReadFile(out)
}

func write(folder string, program, scene []byte) error {
	for name, data := range map[string][]byte{"pathtracer.wasm.zst": program, "scene.bin.zst": scene} {
		packed, err := pack(data)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), packed, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes, unpacked %d\n", name, len(packed), len(data))
	}
	return os.WriteFile(filepath.Join(folder, "toolchain.txt"), []byte(runtime.Version()+"\n"), 0o644)
}

// pack compresses on one thread, since the cut between threads' blocks would
// show in the bytes.
func pack(data []byte) ([]byte, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return e.EncodeAll(data, nil), nil
}

const advice = "run go run ./internal/demoscene/gen and commit the result"

func compare(folder string, program, scene []byte) error {
	oldScene, err := demoscene.Scene()
	if err != nil {
		return err
	}
	if !bytes.Equal(oldScene, scene) {
		return errors.New("the embedded scene is not what the sources give: " + advice)
	}
	oldProgram, err := demoscene.Program()
	if err != nil {
		return err
	}
	recorded, err := os.ReadFile(filepath.Join(folder, "toolchain.txt"))
	if err != nil {
		return err
	}
	version := strings.TrimSpace(string(recorded))
	if version == runtime.Version() {
		if !bytes.Equal(oldProgram, program) {
			return errors.New("the embedded path tracer is not what the sources give: " + advice)
		}
		fmt.Println("demoscene: scene and program equal the sources byte for byte, built by", version)
		return nil
	}
	fmt.Printf("demoscene: the embedded program was built by %s, this is %s: comparing what they render instead of their bytes\n", version, runtime.Version())
	return comparePictures(oldProgram, program, scene)
}

// comparePictures renders the tile in the middle with both programs.
func comparePictures(oldProgram, program, scene []byte) error {
	tile := demoscene.TilesX*(demoscene.TilesY/2) + demoscene.TilesX/2
	was, err := render(oldProgram, scene, tile)
	if err != nil {
		return fmt.Errorf("running the embedded path tracer: %w", err)
	}
	is, err := render(program, scene, tile)
	if err != nil {
		return fmt.Errorf("running the rebuilt path tracer: %w", err)
	}
	if !bytes.Equal(was, is) {
		return fmt.Errorf("the embedded and the rebuilt path tracer render tile %d differently: %s", tile, advice)
	}
	fmt.Printf("demoscene: the scene equals the sources, and both programs render tile %d alike\n", tile)
	return nil
}

func render(program, scene []byte, tile int) ([]byte, error) {
	dir, err := os.MkdirTemp("", "demoscene")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, demoscene.ScenePath), scene, 0o644); err != nil {
		return nil, err
	}
	ctx := context.Background()
	rt := wazero.NewRuntime(ctx)
	defer rt.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	config := wazero.NewModuleConfig().
		WithArgs(append([]string{"pathtracer"}, demoscene.Args(strconv.Itoa(tile), demoscene.Seed)...)...).
		WithFSConfig(wazero.NewFSConfig().WithDirMount(dir, "/")).
		WithStderr(os.Stderr)
	if _, err := rt.InstantiateWithConfig(ctx, program, config); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, demoscene.OutputPath))
}
