package cosmos

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"

	abci "cosmossdk.io/errors"

	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	"github.com/gotong-network/gotong/internal/ledger"
	proof "github.com/gotong-network/gotong/x/proof/types"
)

// unreachable tells a call that got no answer from one that its caller gave up.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var answer *rpctypes.RPCError
	if errors.As(err, &answer) {
		return fmt.Errorf("the node answered: %s %s", answer.Message, answer.Data)
	}
	return fmt.Errorf("%w: %v", ledger.ErrUnreachable, err)
}

// refusal turns a transaction's code into the port's errors, with the chain's own
// sentence.
func refusal(codespace string, code uint32, log string) error {
	switch {
	case codespace == proof.Codespace && code == proof.CodeNotFound:
		return &missing{sentence(log)}
	case codespace == proof.Codespace && code == proof.CodeFunds,
		codespace == sdkerrors.RootCodespace && code == sdkerrors.ErrInsufficientFunds.ABCICode():
		return fmt.Errorf("%w: %s", ledger.ErrFunds, sentence(log))
	}
	return fmt.Errorf("%w: %s", ledger.ErrRefused, sentence(log))
}

// Refusal turns the error of a message that was executed here into the port's
// words, as if a node had answered it.
func Refusal(err error) error {
	codespace, code, log := abci.ABCIInfo(err, true)
	return refusal(codespace, code, log)
}

// missing is the refusal of a message that names what the chain does not have.
type missing struct{ sentence string }

func (m *missing) Error() string { return ledger.ErrRefused.Error() + ": " + m.sentence }

func (m *missing) Unwrap() []error { return []error{ledger.ErrRefused, ledger.ErrNotFound} }

var failedMessage = regexp.MustCompile(`^failed to execute message; message index: \d+: `)

// sentence is what the chain said without the SDK's wrapping.
func sentence(log string) string {
	log = failedMessage.ReplaceAllString(strings.TrimSpace(log), "")
	for _, p := range []string{"refused: ", "not enough funds: "} {
		log = strings.TrimPrefix(log, p) // the port's own word stands before it
	}
	return log
}

var wantedSequence = regexp.MustCompile(`account sequence mismatch, expected (\d+), got \d+`)

// sequenceWanted is the sequence that the node expects, if a refusal is about that.
func sequenceWanted(codespace string, code uint32, log string) (uint64, bool) {
	if codespace != sdkerrors.RootCodespace || code != sdkerrors.ErrWrongSequence.ABCICode() {
		return 0, false
	}
	m := wantedSequence.FindStringSubmatch(log)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	return n, err == nil
}
