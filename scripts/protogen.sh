#!/bin/sh
# Generates the *.pb.go of x/*/types and internal/ledger/sdkwire from proto/; with -check it changes nothing and fails
# if they differ. Needs protoc on the PATH (any 3.x: what is generated does not
# depend on it). The plugin and the imported .proto files are the versions that
# go.mod pins.
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
dir() { go list -m -f '{{.Dir}}' "$1"; }
CGO_ENABLED=0 go build -o "$tmp/protoc-gen-gocosmos" github.com/cosmos/gogoproto/protoc-gen-gocosmos
gogoproto=$(dir github.com/cosmos/gogoproto)
sdk=$(dir github.com/cosmos/cosmos-sdk)
cosmosproto=$(dir github.com/cosmos/cosmos-proto)
for package in proto/gotong/*/v1; do
	PATH="$tmp:$PATH" protoc -I proto -I "$sdk/proto" -I "$cosmosproto/proto" -I "$gogoproto" -I "$gogoproto/protobuf" \
		--gocosmos_out=plugins=grpc,Mgoogle/protobuf/any.proto=github.com/cosmos/gogoproto/types/any:"$tmp" "$package"/*.proto
done
made=$tmp/github.com/gotong-network/gotong
if [ "${1:-}" = -check ]; then
	for file in "$made"/x/*/types/*.pb.go "$made"/internal/ledger/*/*.pb.go; do
		cmp "$file" "${file#"$made"/}" || { echo "generated code is stale: run scripts/protogen.sh" >&2; exit 1; }
	done
else
	cp -R "$made"/. .
fi
