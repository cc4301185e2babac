"""The Celery side: the messages that say that a record waits (`hints`), and the application that Flower looks through.

A message holds an id and nothing else; what it stands for is in `ledger`.
"""
