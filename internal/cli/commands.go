package cli

import (
	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/membercmd"
)

// commandGroup is a heading of the help and its commands.
type commandGroup struct {
	title    string
	commands []*cobra.Command
}

// commands are all commands of the program, as its help shows them.
func commands(a *app) []commandGroup {
	return []commandGroup{
		{"Try it:", []*cobra.Command{
			newDemoCommand(a),
			newUpCommand(a),
			newRunCommand(a),
			newSimCommand(a),
		}},
		{"Jobs:", []*cobra.Command{
			newMapCommand(a),
			newJobsCommand(a),
			newJobCommand(a),
			newWatchCommand(a),
			newLogsCommand(a),
			newGetCommand(a),
			newExplainCommand(a),
			newRetryCommand(a),
			newCancelCommand(a),
			newCostCommand(a),
		}},
		{"Programs, keys and money:", []*cobra.Command{
			newProgramCommand(a),
			newKeysCommand(a),
			newBalanceCommand(a),
			newSendCommand(a),
		}},
		{"The network and this program:", []*cobra.Command{
			newNetworkCommand(a),
			membercmd.NewStart(a.memberEnv()),
			membercmd.NewStatus(a.memberEnv()),
			newCommonsCommand(a),
			newGovernanceCommand(a),
			newSupplyCommand(a),
			newProviderCommand(a),
			newRoleCommand(a, home.RoleChecker, "Run this home's checker and ask about it"),
			newRoleCommand(a, home.RoleIndexer, "Run this home's indexer and ask about it"),
			newValidatorCommand(a),
			membercmd.NewAttest(a.memberEnv()),
			newVersionCommand(a),
			newCompletionCommand(a),
		}},
	}
}
