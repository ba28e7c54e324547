package fake

import (
	"fmt"
	"reflect"
	"sync"
)

// clone copies a record with everything it points to, so that nobody shares
// memory with the store. A type whose copy is not worked out here panics: the
// machines' records are made of plain values, slices and pointers.
func clone[T any](v *T) *T {
	c := new(T)
	*c = *v
	if deep := deepOf(reflect.TypeFor[T]()); deep != nil {
		deep(reflect.ValueOf(c).Elem())
	}
	return c
}

// deepen replaces what a shallow copy shares with its original; nil: nothing is
// shared.
type deepen func(v reflect.Value)

var deepens sync.Map // reflect.Type to deepen, worked out once

func deepOf(t reflect.Type) deepen {
	if d, ok := deepens.Load(t); ok {
		return d.(deepen)
	}
	d := workOut(t)
	deepens.Store(t, d)
	return d
}

func workOut(t reflect.Type) deepen {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Array:
		if deepOf(t.Elem()) == nil {
			return nil
		}
	case reflect.Struct:
		return deepenStruct(t)
	case reflect.Slice:
		return deepenSlice(t)
	case reflect.Pointer:
		return deepenPointer(t)
	}
	panic(fmt.Sprintf("fake: records with a %s cannot be copied", t))
}

func deepenStruct(t reflect.Type) deepen {
	type field struct {
		at   int
		deep deepen
	}
	var fields []field
	for i := range t.NumField() {
		if d := deepOf(t.Field(i).Type); d != nil {
			fields = append(fields, field{i, d})
		}
	}
	if fields == nil {
		return nil
	}
	return func(v reflect.Value) {
		for _, f := range fields {
			f.deep(v.Field(f.at))
		}
	}
}

func deepenSlice(t reflect.Type) deepen {
	elem := deepOf(t.Elem())
	return func(v reflect.Value) {
		if v.IsNil() {
			return
		}
		c := reflect.MakeSlice(t, v.Len(), v.Len())
		reflect.Copy(c, v)
		for i := 0; elem != nil && i < c.Len(); i++ {
			elem(c.Index(i))
		}
		v.Set(c)
	}
}

func deepenPointer(t reflect.Type) deepen {
	elem := deepOf(t.Elem())
	return func(v reflect.Value) {
		if v.IsNil() {
			return
		}
		c := reflect.New(t.Elem())
		c.Elem().Set(v.Elem())
		if elem != nil {
			elem(c.Elem())
		}
		v.Set(c)
	}
}
