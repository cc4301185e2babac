"""Who may come in, and how many: hosts and origins, peers on loopback, deadlines and bounds of connections."""
