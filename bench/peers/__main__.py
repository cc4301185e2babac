"""`python -m bench.peers NAME` runs a contender, in its own environment. Not by its file: a queue needs to know its tasks by the
name of a module that its worker can import."""

from __future__ import annotations

import importlib
import sys

importlib.import_module(f"bench.peers.{sys.argv[1]}").main()
