"""What the calls of a record cost: the bill that its moves carry to the ledger, worst cases, and reserves within budgets.

Prices, and how costs are worked out, belong in `headrace.spend`.
"""
