package cli

import (
	"fmt"
	goruntime "runtime"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/version"
)

type versionOptions struct{ json bool }

func newVersionCommand(a *app) *cobra.Command {
	var o versionOptions
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which gotong this is",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runVersion(a, o) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runVersion(a *app, o versionOptions) error {
	v := struct {
		Version    string `json:"version"`
		Profile    string `json:"profile"`
		HomeFormat int    `json:"home_format"`
		Go         string `json:"go"`
		Platform   string `json:"platform"`
	}{version.String(), gw1.Version, version.HomeFormat, goruntime.Version(), goruntime.GOOS + "/" + goruntime.GOARCH}
	if o.json {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintf(a.out, "gotong %s (profile %s, home format %d, %s, %s)\n", v.Version, v.Profile, v.HomeFormat, v.Go, v.Platform)
	return err
}
