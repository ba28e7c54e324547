package fake

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/gotong-network/gotong/lifecycle"
)

// fill sets every field, with slices of two and pointers to something.
func fill(v reflect.Value, n *uint64) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.String:
		*n++
		v.SetString(fmt.Sprint(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*n++
		v.SetInt(int64(*n % 100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*n++
		v.SetUint(*n % 100)
	default:
		panic(fmt.Sprintf("a record has a %s: teach its copy and this test", v.Kind()))
	}
}

// memory are the addresses behind all slices and pointers of v.
func memory(v reflect.Value, path string, at map[uintptr]string) {
	switch v.Kind() {
	case reflect.Pointer:
		at[v.Pointer()] = path
		memory(v.Elem(), path, at)
	case reflect.Slice:
		at[v.Pointer()] = path
		for i := range v.Len() {
			memory(v.Index(i), fmt.Sprintf("%s[%d]", path, i), at)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			memory(v.Field(i), path+"."+v.Type().Field(i).Name, at)
		}
	}
}

func sharesNothing[T any](t *testing.T, clone func(*T) *T) {
	t.Helper()
	one := new(T)
	var n uint64
	fill(reflect.ValueOf(one).Elem(), &n)
	two := clone(one)
	if !reflect.DeepEqual(one, two) {
		t.Errorf("copy of %T: %+v became %+v", one, one, two)
	}
	a, b := map[uintptr]string{}, map[uintptr]string{}
	memory(reflect.ValueOf(one), "", a)
	memory(reflect.ValueOf(two), "", b)
	for at, path := range a {
		if b[at] != "" || path == "" && at == reflect.ValueOf(two).Pointer() {
			t.Errorf("copy of %T shares %s", one, path)
		}
	}
}

func TestCopiesShareNothing(t *testing.T) {
	t.Parallel()
	sharesNothing(t, cloneJob)
	sharesNothing(t, cloneBatch)
	sharesNothing(t, cloneParty)
	sharesNothing(t, cloneSuspension)
	sharesNothing(t, cloneCommons)
	sharesNothing(t, func(l *[]lifecycle.Part) *[]lifecycle.Part { c := cloneParts(*l); return &c })
}
