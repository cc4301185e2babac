"""The Celery side: the messages that say that a record waits (`hints`), the broker's own keys
(`queue`), and the application that Flower looks through.

A message holds an id and nothing else; what it stands for is in `ledger`.
"""
