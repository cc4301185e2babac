"""The benchmarks: `python -m bench.run` runs them all, `python -m bench.run SUBJECT …` some of them."""
