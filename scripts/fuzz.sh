#!/bin/sh
# Runs every fuzzer of the repository for FUZZTIME (default 60s) each.
set -eu
t=${FUZZTIME:-60s}
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
	for f in $(grep -rho --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$dir" | sed 's/^func //' | sort -u); do
		echo "fuzz $dir $f"
		go test -run '^$' -fuzz "^$f\$" -fuzztime "$t" "$dir"
	done
done
