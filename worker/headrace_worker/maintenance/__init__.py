"""The duties that keep the ledger going, done by one worker at a time: the leader."""
