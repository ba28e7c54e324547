#!/bin/sh
# Builds the committed .wasm files from their sources, with Debian's clang,
# wasi-libc and libclang-rt-dev-wasm32. Compiled and linked apart, so that
# wasm-opt, if it is there, changes nothing.
set -eu
cd "$(dirname "$0")"
for name in mark float simd; do
	o=$(mktemp)
	simd=""
	[ "$name" = simd ] && simd=-msimd128
	clang --target=wasm32-wasi -O2 -Wall -Wextra $simd -c "$name.c" -o "$o"
	clang --target=wasm32-wasi -Wl,-s "$o" -o "$name.wasm" -lm
	chmod 644 "$name.wasm"
	rm "$o"
done
o=$(mktemp)
clang --target=wasm32-wasi -O2 -Wall -Wextra -c echo.c -o "$o"
clang --target=wasm32-wasi -nostdlib -Wl,-s -Wl,--no-entry "$o" -o echo.wasm
chmod 644 echo.wasm
rm "$o"
