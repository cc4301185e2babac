"""The command `headrace`: one file per noun. What a command does is elsewhere; here are its words, output and exit codes."""
