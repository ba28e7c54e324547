package cli

import "github.com/spf13/cobra"

// commands are all commands of the program, in the order of its help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newRunCommand(a),
		newMapCommand(a),
		newJobsCommand(a),
		newJobCommand(a),
		newWatchCommand(a),
		newLogsCommand(a),
		newGetCommand(a),
		newRetryCommand(a),
		newCancelCommand(a),
		newCostCommand(a),
		newExplainCommand(a),
		newDemoCommand(a),
		newUpCommand(a),
		newProgramCommand(a),
		newKeysCommand(a),
		newBalanceCommand(a),
		newSendCommand(a),
		newProviderCommand(a),
		newNetworkCommand(a),
		newVersionCommand(a),
	}
}
