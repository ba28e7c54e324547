package types

import (
	"errors"

	"github.com/gotong-network/gotong/lifecycle"
)

// Codespace is that of the codes below in transaction results.
const Codespace = "gotong"

// The codes of a refused message.
const (
	CodeNotFound  uint32 = 2
	CodeRefused   uint32 = 3
	CodeFunds     uint32 = 4
	CodeMalformed uint32 = 5 // a field of the message is not what it should be
)

// Refusal is an error with its code; the text is for people.
type Refusal struct {
	Code uint32
	Err  error
}

// Refuse gives err its code; nil stays nil.
func Refuse(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lifecycle.ErrNotFound):
		return &Refusal{CodeNotFound, err}
	case errors.Is(err, lifecycle.ErrRefused):
		return &Refusal{CodeRefused, err}
	case errors.Is(err, lifecycle.ErrFunds):
		return &Refusal{CodeFunds, err}
	}
	return &Refusal{CodeMalformed, err}
}

// Error gives the text alone.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// ABCICode tells the SDK the code of a transaction's result.
func (r *Refusal) ABCICode() uint32 { return r.Code }

// Codespace tells the SDK the code's space.
func (r *Refusal) Codespace() string { return Codespace }
