"""Access control and limits: hosts and origins, peers on loopback, deadlines and limits of connections.

Tokens are signed and verified in `auth`; the contents of a body are checked in `requests`, paths are answered in `routes`.
"""
