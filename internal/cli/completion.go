package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newCompletionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print completions for bash, zsh, fish or powershell",
		Long: "Print a script that lets the shell complete gotong's commands and flags.\n\n" +
			"  bash:        source <(gotong completion bash)        # in ~/.bashrc\n" +
			"  zsh:         gotong completion zsh > \"${fpath[1]}/_gotong\"\n" +
			"  fish:        gotong completion fish > ~/.config/fish/completions/gotong.fish\n" +
			"  powershell:  gotong completion powershell | Out-String | Invoke-Expression",
		Args:                  cobra.ExactArgs(1),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			switch root := c.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
			return usagef("no completions for %q: there are %v", clip(args[0], 32), shells)
		},
	}
}

// completeProgram offers the kept programs, and files.
func (a *app) completeProgram(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	es, err := os.ReadDir(filepath.Join(a.homeDir, "programs"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault // no home, no names
	}
	for _, e := range es {
		if programNameForm.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}
