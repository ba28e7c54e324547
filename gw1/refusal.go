package gw1

import "fmt"

// Refusal is the error of Rewrite for a module outside the profile: final for that module and version.
type Refusal struct {
	Offset int    // byte of the module where the reason was found
	Reason string // what is wrong and, where there is one, what to do about it
}

// Error gives reason and offset.
func (r *Refusal) Error() string {
	return fmt.Sprintf("module refused by %s at byte %d: %s", Version, r.Offset, r.Reason)
}
