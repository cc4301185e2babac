"""The columns of an input that a batch uses: those that its prompt names, the one of its ids, and those that its rows keep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from headrace.errors import InputError
from headrace.text.quoting import quoted

ALL = "all"
LINE = "@line"
"""The id of an item is the number of its line."""


class KeptColumns(msgspec.Struct, frozen=True, omit_defaults=True):
    """The input's columns that rows of a batch keep, in the order of the input. Without `names` they are those of each item.
    `types` is the Arrow schema of a typed input, serialized; empty where the values are JSON or text."""

    names: list[str] | None = None
    types: bytes = b""


class ColumnChoice(NamedTuple):
    """The columns that are used, by their names. `keep` is None for every column. Those of `also` are used where they are
    there; those of `media` are files, by whatever names them."""

    prompt: tuple[str, ...] = ()
    id: str | None = None
    keep: tuple[str, ...] | None = ()
    also: tuple[str, ...] = ()
    media: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        prompt: Iterable[str],
        id: str | None = None,
        keep: Any = None,
        *,
        also: Iterable[str] = (),
        media: Iterable[str] = (),
    ) -> ColumnChoice:
        """Return the choice of a caller: `keep` is "all", or names in a list or between commas. Raises `InputError`."""
        rest = {"also": tuple(also), "media": tuple(media)}
        if id is not None and (not isinstance(id, str) or not id):
            raise InputError(f"id={quoted(id)}: must be the name of a column, or {LINE}")
        if keep is None:
            return cls(tuple(prompt), id, **rest)
        if keep == ALL:
            return cls(tuple(prompt), id, None, **rest)
        names = [name.strip() for name in keep.split(",")] if isinstance(keep, str) else keep
        if not isinstance(names, Collection) or not all(isinstance(name, str) and name for name in names):
            raise InputError(f'keep={quoted(keep)}: must be names of columns, or "{ALL}"')
        names = tuple(names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"keep: names the column {quoted(twice)} twice")
        return cls(tuple(prompt), id, names, **rest)

    @property
    def keeps(self) -> bool:
        return self.keep != ()

    @property
    def id_column(self) -> str | None:
        return None if self.id == LINE else self.id

    def needed(self) -> dict[str, str]:
        """Return each column that has to be there, with who names it."""
        needed = dict.fromkeys(self.keep or (), "--keep (`keep`)")
        if self.id_column is not None:
            needed[self.id_column] = "--id (`id`)"
        needed |= dict.fromkeys(self.media, "--image, --audio or --pdf (`images`, `recordings`, `pdfs`)")
        return needed | dict.fromkeys(self.prompt, "the prompt")

    def check(self, source: str, columns: Collection[str]) -> None:
        """Raise `InputError` for a column that is named and is not among `columns`."""
        for name, who in self.needed().items():
            if name not in columns:
                there = ", ".join(map(str, columns))
                raise InputError(
                    f"{source}: has no column {quoted(name)}, which {who} names. Columns there: {there:.400}"
                )

    def of_table(self, columns: Iterable[str]) -> list[str]:
        """Return those of `columns` that are read."""
        if self.keep is None:
            return list(columns)
        wanted = {*self.needed(), *self.also, *(("custom_id", "id") if self.id is None else ())}
        return [name for name in columns if name in wanted]

    def kept(self, fields: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        """Return the values of an item that its row keeps; None where rows keep nothing. Raises `InputError`."""
        if self.keep is None:
            return {name: value for name, value in fields.items() if name not in self.media or isinstance(value, str)}
        if not self.keep:
            return None
        for name in self.media:
            if name in self.keep and not isinstance(fields.get(name), str | None):
                raise InputError(f"{where}: column {quoted(name)} is a file, which rows do not keep; keep its id")
        try:
            return {name: fields[name] for name in self.keep}
        except KeyError as error:
            there = ", ".join(sorted(map(str, fields))) or "none"
            raise InputError(
                f"{where}: field `{error.args[0]}`, which --keep (`keep`) names, is missing. Fields there: {there}"
            ) from None
