#!/bin/sh
# Static archives for linux on amd64 and arm64, with checksums, into dist/: gotong with
# everything inside, and gotong-worker, the provider without the chain.
set -eu
version=$1
export CGO_ENABLED=0 GOOS=linux
rm -rf dist && mkdir dist
for arch in amd64 arm64; do
	for program in gotong gotong-worker; do
		dir=$program-$version-linux-$arch
		mkdir "dist/$dir"
		GOARCH=$arch go build -trimpath -ldflags "-s -w -X github.com/gotong-network/gotong/internal/version.Version=$version" -o "dist/$dir/$program" "./cmd/$program"
		cp README.md LICENSE NOTICE "dist/$dir/"
		cp deploy/gotong.service "dist/$dir/"
		tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2026-01-01 00:00Z' -C dist -czf "dist/$dir.tar.gz" "$dir"
		rm -r "dist/$dir"
	done
done
(cd dist && sha256sum ./*.tar.gz >SHA256SUMS && cat SHA256SUMS)
