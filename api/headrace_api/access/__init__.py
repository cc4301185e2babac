"""Access control and bounds: hosts and origins, peers on loopback, deadlines and bounds of connections.

Tokens are signed and checked in `auth`; what a body may hold is decided in `requests`, what a path answers in `routes`.
"""
