"""The results: rows with budgets, kept in `bench/results/latest.json`, and the table, the plots and the sentences made of them.

Pure: nothing in here measures. docs/generate.py makes the docs of it.
"""
