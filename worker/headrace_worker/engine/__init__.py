"""One call to a model with everything around it: attempts, waits, re-asks, call slots, and the hold of a deployment.

What is done with a record before and after it belongs in `execution`.
"""
