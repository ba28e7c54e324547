// Package record stores the protocol's records: each is the deterministic JSON of
// the struct that the pure machines use, so that a record has one definition
// (docs/adr/0006-state-records.md).
//
// It promises that equal records have equal bytes: struct order, no maps, no
// floats, no optional white space. It never interprets a record.
package record

import (
	"encoding/json"
	"fmt"

	"cosmossdk.io/collections/codec"
)

// JSON is the value codec of T for a collection.
func JSON[T any]() codec.ValueCodec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v T) ([]byte, error)       { return json.Marshal(v) }
func (c jsonCodec[T]) EncodeJSON(v T) ([]byte, error) { return c.Encode(v) }
func (c jsonCodec[T]) DecodeJSON(b []byte) (T, error) { return c.Decode(b) }
func (jsonCodec[T]) Stringify(v T) string             { return fmt.Sprintf("%+v", v) }

func (jsonCodec[T]) ValueType() string {
	var v T
	return fmt.Sprintf("json/%T", v)
}

func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("record of %T: %w", v, err)
	}
	return v, nil
}
