package membercmd

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/iso3166"
)

// maxFeePermille is the most that a job may pay its indexer, in thousandths of the pay.
const maxFeePermille = 1000

// indexerFlags are what an indexer's owner says of its work.
type indexerFlags struct {
	fee  uint32
	hear []string
}

func (o *indexerFlags) add(f *pflag.FlagSet) {
	f.Uint32Var(&o.fee, "fee-permille", 0, "what the indexer asks for a job, in thousandths of the pay and on top of it (0 to 1000)")
	f.StringSliceVar(&o.hear, "hear-regions", nil, "countries whose providers the indexer hears, ISO 3166 codes with commas (default: all)")
}

// keep puts what was said into settings.
func (o *indexerFlags) keep(s *home.Settings) error {
	if o.fee > maxFeePermille {
		return usagef("--fee-permille %d: want 0 to %d thousandths of the pay", o.fee, maxFeePermille)
	}
	for _, r := range o.hear {
		if err := iso3166.Check(r); err != nil {
			return usagef("--hear-regions: %w", err)
		}
	}
	s.FeePermille, s.Hear = o.fee, o.hear
	return nil
}

// keepIn writes what the owner says on the command line into the home, and leaves the
// rest as it was.
func (o *indexerFlags) keepIn(h *home.Home, c *cobra.Command) error {
	s, err := h.ReadSettings()
	if err != nil {
		return err
	}
	said := *o
	if !c.Flags().Changed("fee-permille") {
		said.fee = s.FeePermille
	}
	if !c.Flags().Changed("hear-regions") {
		said.hear = s.Hear
	}
	if err := said.keep(&s); err != nil {
		return err
	}
	return h.WriteSettings(s)
}
