package demoscene

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// RenderDirect renders the whole frame in this process with the unmodified program
// under the engine's own WASI: no network, no rewriting, no sandbox of ours. It is
// what the network's picture is compared with, pixel by pixel. It takes about ten
// seconds of one core.
func RenderDirect(ctx context.Context, seed uint64) (*image.NRGBA, error) {
	img, err := renderDirect(ctx, seed)
	if err != nil {
		return nil, fmt.Errorf("direct run of the demo's program: %w", err)
	}
	return img, nil
}

func renderDirect(ctx context.Context, seed uint64) (*image.NRGBA, error) {
	program, err := Program()
	if err != nil {
		return nil, err
	}
	scene, err := Scene()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gotong-direct-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, ScenePath), scene, 0o600); err != nil {
		return nil, err
	}
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	args := append([]string{"program"}, FullFrameArgs(seed)...)
	c := wazero.NewModuleConfig().WithArgs(args...).WithStderr(os.Stderr).WithFSConfig(wazero.NewFSConfig().WithDirMount(dir, "/"))
	m, err := r.InstantiateWithConfig(ctx, program, c)
	if m != nil {
		defer m.Close(ctx)
	}
	if err != nil && !exitedWell(err) {
		return nil, err
	}
	pix, err := os.ReadFile(filepath.Join(dir, OutputPath))
	if err != nil {
		return nil, err
	}
	return assemble([][]byte{pix}, Width, Height, 1, 1)
}

// exitedWell reports an exit with code 0, which the engine tells as an error.
func exitedWell(err error) bool {
	var exit *sys.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 0
}
