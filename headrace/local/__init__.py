"""The service on one machine: Valkey and the processes of `headrace up`, started, watched and restarted.

What those processes do belongs in their own packages; here they are programs that are run. Commands and their output belong in
`cli`.
"""
