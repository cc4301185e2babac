"""The gateway: jobs submitted and their streams watched over HTTP and WebSocket, in the wire formats of several clients.

It meets the workers in the ledger and the event logs alone.
"""
