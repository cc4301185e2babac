"""The gateway: submit jobs and watch their streams over HTTP and WebSocket, in the wire formats of several clients.

It communicates with the workers only through the ledger and the event logs.
"""
