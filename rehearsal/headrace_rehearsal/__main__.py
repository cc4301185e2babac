"""`python -m headrace_rehearsal`: the same as the command `headrace-rehearsal`."""

import sys

from headrace_rehearsal.server import main

if __name__ == "__main__":
    sys.exit(main())
