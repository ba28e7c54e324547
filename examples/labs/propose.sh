#!/bin/sh
# Builds labs for WebAssembly and proposes it as a job of the commons: the odd
# lengths from 101 to 199, 200 walks each. Arguments go to gotong, as --home DIR.
# LENGTHS, WALKS and STEPS make it smaller or larger, GOTONG names another gotong:
#
#	STEPS=2000 WALKS=8 LENGTHS="$(seq 61 2 99)" examples/labs/propose.sh --home DIR
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
lengths=${LENGTHS:-$(seq 101 2 199)}
walks=$(seq 1 "${WALKS:-200}")
wasm=$(mktemp -d)
trap 'rm -rf "$wasm"' EXIT
(cd "$here" && GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$wasm/labs.wasm" .)
"${GOTONG:-gotong}" "$@" commons propose \
	--title "Binary sequences with low autocorrelation, for radar, sonar and radio" \
	--grid "length=$(echo $lengths | tr ' ' ,)" --grid "walk=$(echo $walks | tr ' ' ,)" --max-fuel 500e9 \
	-- "$wasm/labs.wasm" -length '{length}' -walk '{walk}' -steps "${STEPS:-20000}"
