"""Schemas and types as people write them, each with values that fit and values that do not."""
