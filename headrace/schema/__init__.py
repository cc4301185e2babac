"""A schema in is a schema out: any JSON Schema or type to what strict mode takes, and answers back to the caller's values.

`lower(schema_or_type, target)` is the door; the rest of the package is behind it. `bundle(schema, documents)` makes one schema
of one that refers to other documents.
"""

from headrace.errors import InvalidOutput, Misfit, SchemaError
from headrace.schema.bundle import bundle
from headrace.schema.lower import Lowered, lower
from headrace.schema.lowering import Note
from headrace.schema.targets import TARGETS, Target

__all__ = ["TARGETS", "InvalidOutput", "Lowered", "Misfit", "Note", "SchemaError", "Target", "bundle", "lower"]
