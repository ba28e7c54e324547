#!/bin/sh
# Installs from Debian's packages what real tests need, and says plainly what it
# could not install. Nothing here is needed to build or to run gotong itself.
set -u
need() { # need COMMAND PACKAGE WHY
	command -v "$1" >/dev/null 2>&1 && return 0
	missing="$missing $2"
	why="$why\n  $2: $3"
}
missing="" why=""
need git git "generated files are compared with what is committed"
need protoc protobuf-compiler "make gen-check regenerates the chain's messages"
if [ -z "$missing" ]; then exit 0; fi
printf 'Packages that tests need and that are not here:%b\n' "$why"
if [ "$(id -u)" = 0 ]; then run=""; elif command -v sudo >/dev/null 2>&1; then run=sudo; else
	echo "deps: cannot install without root: run as root: apt-get install$missing" >&2
	exit 1
fi
$run apt-get update -qq && $run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null || {
	echo "deps: could not install:$missing" >&2
	exit 1
}
echo "deps: installed$missing"
