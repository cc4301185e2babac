"""The columns of a batch's results, as its template says: those that are kept of the input, and those of its schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from headrace.batches.inputs.column_choice import KeptColumns
from headrace.batches.outputs.answer_shape import AnswerShape, answer_shape
from headrace.batches.outputs.result_cells import AnswerColumns


class ResultColumns(NamedTuple):
    """The shape of the answers, None where the schema is not known or the rows are errors; and the columns that are kept."""

    shape: AnswerShape | None = None
    kept: KeptColumns | None = None

    @classmethod
    def of(cls, schema: dict[str, Any] | None, kept: KeptColumns | None) -> ResultColumns:
        return cls(None if schema is None else answer_shape(schema), kept)

    @property
    def kept_names(self) -> list[str]:
        """The names of the kept columns; none where only the rows say them."""
        return list(self.kept.names or ()) if self.kept is not None else []

    @property
    def kept_in_rows(self) -> bool:
        """Return True if only the rows say which columns are kept."""
        return self.kept is not None and self.kept.names is None

    def cells(self) -> AnswerColumns | None:
        """Return the columns of a CSV; None where they are those of the rows."""
        return None if self.shape is None else AnswerColumns(self.shape, self.kept_names)

    def settled(self, rows: Iterable[dict[str, Any]]) -> ResultColumns:
        """Return the same with the names of the kept columns, which are those of all `rows` together."""
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row.get("kept") or ()))
        return self._replace(kept=KeptColumns(list(names)))

    def errors(self) -> ResultColumns:
        """Return the columns of the rows that did not succeed."""
        return self._replace(shape=None)


NO_COLUMNS = ResultColumns()
TEXT = {"type": "string"}
"""The schema of answers that were asked for without one."""
