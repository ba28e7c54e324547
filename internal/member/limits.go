package member

import (
	"fmt"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/limits"
)

// Limits reads the owner's limits of a home; nil without any.
func Limits(s home.Settings) (*limits.Config, error) {
	if len(s.Limits) == 0 {
		return nil, nil
	}
	var flags limits.Flags
	known := map[string]bool{}
	for _, f := range flags.List() {
		*f.Value = s.Limits[f.Name]
		known[f.Name] = true
	}
	for name := range s.Limits {
		if !known[name] {
			return nil, fmt.Errorf("limit %q is not one of this gotong's", name)
		}
	}
	c, err := limits.Parse(flags)
	if err != nil {
		return nil, err
	}
	return &c, nil
}
