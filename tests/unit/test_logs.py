"""What the one set-up of logging writes, and what it never does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from headrace.errors import SettingsError
from headrace.logs import configure, words_before_values

UNSEEN = "unseen7"
BEFORE = f"""
import asyncio, gc, logging, sys, threading, warnings
from headrace.logs import configure, hide_exception_texts
from headrace.errors import InputError
TEXT = "{UNSEEN}"
def fail(*_): raise ValueError(TEXT)
"""


def written(code: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("setting", ["hide_exception_texts()", "configure('info')", "configure('info', 'pairs')"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("fail()", ["ValueError", "fail", "<module>"]),
        (
            "try: fail()\nexcept ValueError as error: raise KeyError(TEXT) from error",
            ["KeyError", "after builtins.ValueError"],
        ),
        ("threading.Thread(target=fail).start()", ["ValueError", "fail"]),
        ("class Ending:\n  def __del__(self): fail()\nEnding()", ["ValueError", "__del__"]),
        ("warnings.warn(TEXT, stacklevel=1)", ["UserWarning"]),
    ],
    ids=["end", "cause", "thread", "ignored", "warning"],
)
def test_python_prints_class_and_places_of_an_exception_alone(setting: str, code: str, told: list[str]) -> None:
    _, text = written(f"{setting}\n{code}")
    assert UNSEEN not in text
    for word in told:
        assert word in text


@pytest.mark.parametrize("setting", ["configure('info')", "configure('info', 'pairs')"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("logging.getLogger('other').error('of %s and %(x)s', TEXT)", "of … and …"),
        ("logging.getLogger('other').error(f'of {TEXT}')", "a message made at <string>"),
        (
            "try: fail()\nexcept ValueError: logging.getLogger('other').exception('it fails')",
            "it fails kind=ValueError",
        ),
        ("asyncio.run(asyncio.wait([]))", "ValueError"),
        (
            "async def main():\n  asyncio.get_running_loop().call_soon(fail, TEXT); await asyncio.sleep(0)\nasyncio.run(main())",
            "Exception in callback fail kind=ValueError",
        ),
        (
            "async def late(): fail()\n"
            "async def main():\n  asyncio.create_task(late()); await asyncio.sleep(0.01); gc.collect()\nasyncio.run(main())",
            "Task exception was never retrieved kind=ValueError",
        ),
        ("import structlog; structlog.get_logger('headrace.x').error('odd', exc_info=ValueError(TEXT))", "ValueError"),
        ("import structlog; structlog.get_logger('headrace.x').error('odd', error=ValueError(TEXT))", "ValueError"),
        ("import structlog; structlog.get_logger('headrace.x').error('odd', error=InputError('ours'))", "ours"),
        ("logging.getLogger('headrace.x').error('%d', TEXT)", "a line of headrace.x was not logged"),
    ],
    ids=["args", "made", "exception", "run", "callback", "task", "exc_info", "value", "own", "unwritable"],
)
def test_a_line_of_the_log_has_no_values_that_are_not_ours(setting: str, code: str, told: str) -> None:
    _, text = written(f"{setting}\n{code}")
    assert UNSEEN not in text
    assert told in text


def test_an_error_of_ours_keeps_its_message() -> None:
    code, text = written("hide_exception_texts()\nraise InputError('line 3: no model')")
    assert code == 1
    assert text == "headrace: line 3: no model\n"


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("line", " info     headrace.x: ready pid=7 url='a b'\n"),
        ("pairs", "INFO headrace.x pid=7 url='a b' event='ready'\n"),
    ],
)
def test_the_forms_of_a_line(form: str, line: str) -> None:
    _, text = written(
        f"configure('info', {form!r})\nimport structlog\nstructlog.get_logger('headrace.x').info('ready', pid=7, url='a b')"
    )
    assert text.endswith(line)


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_LOG_LEVEL='loud': use one of critical"):
        configure("loud")


def test_the_words_before_a_value() -> None:
    assert words_before_values("Exception in callback f('a')\nhandle: <Handle>") == "Exception in callback f"
    assert words_before_values("future: <Task exception=ValueError('a')>") == "future:"


def test_help_imports_neither_logging_nor_structlog() -> None:
    code = """
import contextlib, io, json, sys
import headrace.cli.main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    headrace.cli.main.main(["--help"])
print(json.dumps(sorted({"logging", "structlog", "asyncio", "rich"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    "modules",
    [
        "headrace_worker.__main__, headrace_worker.celery_app, headrace_worker.pool",
        "headrace_api.__main__, headrace_api.app",
    ],
)
def test_a_process_that_logs_imports_no_coloured_tracebacks(modules: str) -> None:
    code = f"""
import importlib, json, sys
from headrace.logs import configure, get_logger
first, *others = {modules!r}.split(", ")
importlib.import_module(first)
configure("info")
for other in others:
    importlib.import_module(other)
get_logger("headrace.x").info("here")
print(json.dumps(sorted({{"rich", "pygments", "structlog"}} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == ["structlog"]


def test_a_command_imports_no_coloured_tracebacks() -> None:
    code = """
import json, sys
import headrace.cli.main
try:
    headrace.cli.main.main(["batches", "list"])
finally:
    print(json.dumps(sorted({"rich", "pygments"} & set(sys.modules))))
"""
    environment = {**os.environ, "HEADRACE_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 3
    assert json.loads(done.stdout) == []
