// Package version knows what this build is: the release it was cut from, and the
// formats it reads and writes. It decides nothing and imports nothing of ours.
package version

import "runtime/debug"

// Version is the release, set by the linker; empty in plain builds.
var Version string

// HomeFormat is the version of a home directory's layout. A home of another
// version is refused, not guessed at.
const HomeFormat = 1

// String gives the release, or what the Go toolchain knows of the build.
func String() string {
	if Version != "" {
		return Version
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}
