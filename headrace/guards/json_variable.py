"""Variables whose value is a JSON object, or the path of a file with one."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import SettingsError
from headrace.guards.ownership import check_not_public
from headrace.guards.small_files import read_whole
from headrace.text.masking import masked
from headrace.text.quoting import shortened


def json_of_variable(name: str, given: str) -> tuple[str, bytes]:
    """Return the JSON text of the variable `name` and where it stands, for messages. It may say where keys and prompts are
    sent: a file that others may write to is refused. Raises `SettingsError`."""
    if given.lstrip().startswith(("{", "[")):
        return name, given.encode(errors="replace")
    where = f"{name} ({shortened(masked(given))})"
    try:
        check_not_public(Path(given), where)
        return where, read_whole(Path(given))
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name, or no file that is read whole
        raise SettingsError(f"{where}: cannot be read: {shortened(masked(str(error)))}") from None
