"""Access control and bounds: hosts and origins, peers on loopback, deadlines and bounds of connections."""
