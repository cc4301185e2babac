"""Events of a call, and the log: deltas become events, and the events are written to the log in groups."""
