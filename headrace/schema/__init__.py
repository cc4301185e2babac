"""A schema in is a schema out: lower any JSON Schema or type to a provider's strict subset, and decode answers to the
caller's values.

The entry point is `lower(schema_or_type, target)`. `bundle(schema, documents)` inlines the documents that a schema refers
to.
"""

from headrace.errors import InvalidOutput, SchemaError, Violation
from headrace.schema.bundle import bundle
from headrace.schema.lower import Lowered, lower
from headrace.schema.lowering import Note
from headrace.schema.targets import TARGETS, Target

__all__ = ["TARGETS", "InvalidOutput", "Lowered", "Note", "SchemaError", "Target", "Violation", "bundle", "lower"]
