"""The command `headrace`: a file per noun, and what these share. What a command does is elsewhere; here are words and output."""
