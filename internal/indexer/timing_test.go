package indexer

import (
	"reflect"
	"testing"
)

// TestTimingHasDefaults holds that no wait is nothing where a user says nothing.
func TestTimingHasDefaults(t *testing.T) {
	t.Parallel()
	for name, timing := range map[string]Timing{"default": DefaultTiming(), "zero": Timing{}.orDefault()} {
		v := reflect.ValueOf(timing)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: %s is zero", name, v.Type().Field(i).Name)
			}
		}
	}
}
