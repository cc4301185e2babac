"""Trust and bounds: whose a file is, how much of it is read, and which secrets a process is given.

Checks of what a caller asks for belong to the package that takes it.
"""
