"""What keeps the ledger going, done by one worker at a time: the leader."""
