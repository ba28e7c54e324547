package membercmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/iso3166"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Bounds of an attestation's life.
const (
	defaultAttested = 90 * 24 * time.Hour
	maxAttested     = 10 * 365 * 24 * time.Hour
)

type attestOptions struct {
	region    string
	isolation string
	days      time.Duration
}

// NewAttest is the command of those who vouch for providers.
func NewAttest(e *Env) *cobra.Command {
	var o attestOptions
	c := &cobra.Command{
		Use:   "attest PEER-KEY",
		Short: "Sign a statement about a provider: where it is, how it isolates",
		Long: "Signs with this home's attester key what you have checked about a provider, and prints it as\n" +
			"JSON; the provider adds it with `provider attestations add`. Clients who name your key with\n" +
			"--attester believe it until it expires. PEER-KEY is what `provider attestations` prints at the provider.",
		Example: "  gotong attest 4f1c… --region DE-BY --for 2160h > bavaria.json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runAttest(e, o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.region, "region", "", "ISO 3166 code of where it is, as DE or DE-BY")
	f.StringVar(&o.isolation, "isolation", "", "how it isolates items: process, kernel, machine, confidential")
	f.DurationVar(&o.days, "for", defaultAttested, "how long the statement holds")
	c.AddCommand(&cobra.Command{
		Use:   "key",
		Short: "Print this home's attester key, which clients name",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := e.attesterKey()
			if err == nil {
				_, err = fmt.Fprintln(e.Out, k.Public())
			}
			return err
		},
	})
	return c
}

func (e *Env) attesterKey() (sign.PrivateKey, error) {
	h, err := home.Open(e.Home())
	if err != nil {
		return sign.PrivateKey{}, err
	}
	return h.SeedKey("attester.key")
}

func runAttest(e *Env, o attestOptions, key string) error {
	var subject sign.PublicKey
	if err := subject.UnmarshalText([]byte(key)); err != nil {
		return usagef("%q: %w: give the provider's peer key, which `%s provider attestations` prints there", key, err, e.Program)
	}
	if o.days < time.Minute || o.days > maxAttested {
		return usagef("--for %s: want 1m to %s", o.days, maxAttested)
	}
	base := work.Attestation{Subject: subject, IssuedUnix: time.Now().Unix()}
	base.ExpiresUnix = base.IssuedUnix + int64(o.days/time.Second)
	var out []work.Attestation
	if o.region != "" {
		if err := iso3166.Check(o.region); err != nil {
			return usagef("--region: %w", err)
		}
		a := base
		a.Claim, a.Value = work.ClaimJurisdiction, o.region
		out = append(out, a)
	}
	if o.isolation != "" {
		if _, err := work.ParseIsolation(o.isolation); err != nil {
			return usagef("--isolation: %w", err)
		}
		a := base
		a.Claim, a.Value = work.ClaimIsolation, o.isolation
		out = append(out, a)
	}
	if len(out) == 0 {
		return usagef("say what you attest: --region DE-BY, --isolation machine")
	}
	k, err := e.attesterKey()
	if err != nil {
		return err
	}
	for i := range out {
		out[i].Sign(k)
		if err := out[i].Verify(); err != nil {
			return UsageError{err}
		}
	}
	return e.printJSON(out)
}

// NewAttestations is the provider's side: what attesters say about this home.
func NewAttestations(e *Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "attestations",
		Short: "Show what attesters say about this home's provider; add or remove it",
		Long:  "Statements are kept in the home's folder attestations and put into its offers while they hold.",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runAttestations(e, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(&cobra.Command{
		Use: "add FILE", Short: "Keep the statements of a file (- is stdin)", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runAddAttestations(e, args[0]) },
	}, &cobra.Command{
		Use: "remove VALUE", Short: "Forget the statements of a value, as DE-BY", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runRemoveAttestations(e, args[0]) },
	})
	return c
}

func runAttestations(e *Env, asJSON bool) error {
	h, all, err := e.attestations()
	if err != nil {
		return err
	}
	key, err := h.SeedKey("peer.key")
	if err != nil {
		return err
	}
	if asJSON {
		return e.printJSON(struct {
			Peer         sign.PublicKey     `json:"peer"`
			Attestations []work.Attestation `json:"attestations"`
		}{key.Public(), append([]work.Attestation{}, all...)})
	}
	fmt.Fprintf(e.Errw, "Peer key, for attesters: %s\n", key.Public())
	w := tabwriter.NewWriter(e.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "CLAIM\tVALUE\tATTESTER\tEXPIRES")
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Claim, a.Value, a.Attester, expiry(a))
	}
	return w.Flush()
}

func expiry(a work.Attestation) string {
	at := time.Unix(a.ExpiresUnix, 0).UTC()
	if at.Before(time.Now()) {
		return at.Format(time.DateOnly) + " (expired: not offered)"
	}
	return at.Format(time.DateOnly)
}

func (e *Env) attestations() (*home.Home, []work.Attestation, error) {
	h, err := home.Open(e.Home())
	if err != nil {
		return nil, nil, err
	}
	all, err := h.Attestations()
	return h, all, err
}

func runAddAttestations(e *Env, file string) error {
	h, err := e.open()
	if err != nil {
		return err
	}
	r := e.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return UsageError{err}
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, home.MaxAttestationBytes+1))
	if err != nil {
		return err
	}
	all, err := home.DecodeAttestations(b)
	if err != nil {
		return usagef("%s: %w", file, err)
	}
	key, err := h.SeedKey("peer.key")
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Subject != key.Public() {
			return usagef("%s: it is about the peer key %s, and this home's is %s", file, a.Subject, key.Public())
		}
		if a.ExpiresUnix < time.Now().Unix() {
			return usagef("%s: the statement about %s has expired: ask for a new one", file, a.Value)
		}
		if err := h.SaveAttestation(a); err != nil {
			return err
		}
		fmt.Fprintf(e.Errw, "Kept: %s %s, by %s until %s. Offers hold it from now on.\n", a.Claim, a.Value, a.Attester, expiry(a))
	}
	return nil
}

func runRemoveAttestations(e *Env, value string) error {
	h, all, err := e.attestations()
	if err != nil {
		return err
	}
	var errs []error
	found := false
	for _, a := range all {
		if strings.EqualFold(a.Value, value) {
			found = true
			errs = append(errs, h.RemoveAttestation(a))
		}
	}
	if !found {
		return usagef("no statement about %q is kept here: `%s provider attestations` shows all", value, e.Program)
	}
	return errors.Join(errs...)
}
