"""Costs: prices of models in USD per token, and the cost of an answer.

How many tokens an answer took is read by the provider layer; sums are counters of the `ledger`.
"""
