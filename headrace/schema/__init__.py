"""Schemas: what a caller's JSON Schema may be, and whether an answer fits it."""
