"""What a call says becomes events, and the events are written to the log in groups."""
