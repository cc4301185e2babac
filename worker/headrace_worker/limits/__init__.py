"""Limits that all workers keep together: permits of the ledger for calls, holds that are heard of, learnt limits, and turns
among those who wait. Limits of one process alone (slots, the hold of a deployment) belong in `engine`.
"""
