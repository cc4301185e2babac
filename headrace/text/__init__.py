"""What is written for people and machines to read: quotes that are cut, secrets that are hidden, digits as they were written, and
JSON that its own reader takes. It imports nothing of ours.
"""
