"""The one set-up of logging: of a worker, a gateway, Flower and the command line.

Nothing of it ever writes the text of an exception that nobody foresaw, a message's body or a variable's value: all may hold a
prompt or an answer. Of an exception its class and its places are written, of somebody else's record its format without the
arguments. Our own errors (`HeadraceError`) are made without bodies and keep their message.

`hide_exception_texts` is for what Python itself prints, and is cheap; `configure` is for `logging` and structlog, which it
imports.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal, cast

from headrace.errors import HeadraceError, SettingsError
from headrace.text.quoting import quoted
from headrace.text.safe_errors import kind_of, report_of, where_of

if TYPE_CHECKING:
    import logging
    import threading

    from structlog.stdlib import BoundLogger

Form = Literal["line", "pairs"]
"""`time level logger: event key=value …`, or `LEVEL logger key=value … event='…'`."""

LEVELS = {"debug", "info", "warning", "error", "critical"}
# Of these the arguments are shown: a masked URL, what is wrong with the link to Redis, and where Flower listens.
SAFE = {
    "celery.worker.consumer.consumer": ("consumer: Cannot connect to", "%s (%r)"),
    "flower.command": ("Visit me at", "Broker:"),
}
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
VALUE = re.compile(r"[<({\[\"']")
MAX_TEXT = 200


class LazyLogger:
    """structlog's logger of this name. structlog is imported with the first event: most commands log nothing, and a program
    that uses the client alone may set it up as it likes."""

    def __init__(self, name: str):
        self._name = name
        self._logger: Any = None

    def __getattr__(self, method: str) -> Any:
        if self._logger is None:
            import structlog

            self._logger = structlog.stdlib.get_logger(self._name)
        return getattr(self._logger, method)


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a module, `headrace.<package>.<subject>`."""
    return cast("BoundLogger", LazyLogger(name))


def hide_exception_texts() -> None:
    """Have Python write no text of an exception or a warning: at the end of the process or a thread, or where it is ignored."""
    import threading

    sys.excepthook = _on_exception
    sys.unraisablehook = _on_unraisable
    threading.excepthook = _on_thread_exception
    warnings.formatwarning = _warning_text


def configure(level: str, form: Form = "line", *, formatter: logging.Formatter | None = None) -> None:
    """Log to stderr. Ours from `level` on, others' from `warning`. With a `formatter` others' records are written by it.

    Raises `SettingsError` for a level that is none.
    """
    import logging

    if level.lower() not in LEVELS:
        raise SettingsError(f"HEADRACE_LOG_LEVEL={quoted(level)}: use one of {', '.join(sorted(LEVELS))}")
    hide_exception_texts()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(without_values)
    handler.handleError = _on_handler_error
    own = _line_formatter() if form == "line" else _pairs_formatter()
    handler.setFormatter(formatter or own)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("headrace").setLevel(level.upper())
    # Celery warns at each reconnect about a setting that we have made on purpose.
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def without_values(record: logging.LogRecord) -> bool:
    """Reduce a record of somebody else's logger to the kind of problem: its format without arguments, and the type and
    place of its exception. Celery's own lines for unknown and undecodable messages quote the whole body."""
    error = record.exc_info[1] if record.exc_info else None
    if record.name.partition(".")[0] != "headrace":
        record.msg, record.args = _text_of(record), ()
    if error is not None:
        record.msg = f"{record.msg} kind={kind_of(error)} where={where_of(error)!r}"
    record.exc_info, record.exc_text, record.stack_info = None, None, None
    return True


def words_before_values(text: str) -> str:
    """Return the beginning of a text that was made at run time, up to the first value (asyncio's: `Exception in
    callback f(`)."""
    return VALUE.split(text.partition("\n")[0])[0].strip()[:MAX_TEXT]


def _text_of(record: logging.LogRecord) -> str:
    form = str(record.msg).strip()
    if form.startswith(SAFE.get(record.name, ())) and record.name in SAFE:
        text = record.getMessage().strip()
    elif record.name == "py.warnings":
        text = form if "%" not in form else "a warning"
    elif record.name == "asyncio":
        text = words_before_values(PLACEHOLDER.sub("…", form))
    elif _stands_in_code(record):
        text = PLACEHOLDER.sub("…", form)
    else:
        text = f"a message made at {record.filename}:{record.lineno}"
    return text.partition("\n")[0][:MAX_TEXT]


def _stands_in_code(record: logging.LogRecord) -> bool:
    """Return True if the record's format is a text of the program, and none that was put together from values."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == record.pathname and frame.f_code.co_name == record.funcName:
            constants = (*frame.f_code.co_consts, *frame.f_globals.values())
            return any(isinstance(each, str) and each == record.msg for each in constants)
        frame = frame.f_back
    return False


def _without_exceptions(_: Any, __: str, event: Any) -> Any:
    """Replace exceptions, wherever they stand in an event, by their class and their places: a processor of structlog."""
    error = event.pop("exc_info", None)
    error = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
    event.pop("stack_info", None)
    event.pop("exception", None)
    for key, value in event.items():
        if isinstance(value, BaseException):
            event[key] = str(value) if isinstance(value, HeadraceError) else kind_of(value)
    if isinstance(error, BaseException):
        event |= {"kind": kind_of(error), "where": where_of(error)}
    return event


def _line_formatter() -> logging.Formatter:
    structlog = _structlog()
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamp]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            _without_exceptions,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
    )


def _pairs_formatter() -> logging.Formatter:
    import logging

    structlog = _structlog()
    structlog.configure(
        logger_factory=structlog.stdlib.LoggerFactory(),
        processors=[_without_exceptions, structlog.processors.KeyValueRenderer()],
    )
    return logging.Formatter("%(levelname)s %(name)s %(message)s")


def _structlog() -> Any:
    """Import structlog without rich: it imports it when it finds it, 0.12 s for coloured tracebacks that are never printed."""
    hidden = "structlog" not in sys.modules and "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


def _line(_: Any, __: str, event: Any) -> str:
    """Return `time level logger: event key=value …`, on one line."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<8} {event.pop('logger')}: {event.pop('event')}"
    pairs = (f"{key}={_plain(value)}" for key, value in event.items())
    return " ".join([head.replace("\n", " "), *pairs])


def _plain(value: Any) -> str:
    text = str(value)
    return text if text and not re.search(r'[\s"=]', text) else repr(text)


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"headrace: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # there is none, or nobody listens
        return


def _on_exception(_: type[BaseException], error: BaseException, __: Any) -> None:
    if isinstance(error, HeadraceError):
        _say(str(error))
    elif not isinstance(error, KeyboardInterrupt):
        _say(f"ended by a fault that nobody foresaw: {report_of(error)}")


def _on_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _say(f"a thread ended by a fault that nobody foresaw: {report_of(args.exc_value)}")


def _on_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _say(f"a fault that was ignored: {report_of(args.exc_value)}")


def _on_handler_error(record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    if error is not None and not isinstance(error, OSError):
        _say(f"a line of {record.name} was not logged: {report_of(error)}")


def _warning_text(message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    return f"{filename}:{lineno}: {category.__name__}\n"
