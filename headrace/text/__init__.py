"""Texts for people and machines: quotes that are cut, secrets that are hidden, digits as they were written, and JSON that its own
reader takes. It imports nothing of ours.
"""
