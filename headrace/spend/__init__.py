"""Costs: prices of models, and the cost of an answer."""
