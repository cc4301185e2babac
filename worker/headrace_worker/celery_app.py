"""The Celery application of a worker, and its log.

`make_app` is what `python -m headrace_worker` starts; `app` is the same, made at its first use, for `celery -A
headrace_worker.celery_app`. The log is one line per event on stderr. No line ever quotes a message's body or an exception's
text: both may hold a prompt or an answer.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import sys
from functools import partial
from typing import Any

import structlog
from celery import Celery, signals
from celery.worker.consumer import Consumer
from celery.worker.loops import asynloop
from headrace_providers.safe_errors import kind_of, where_of

from headrace.broker import hints
from headrace.errors import SettingsError
from headrace.ledger.queues import QUEUES
from headrace.ledger.script import AWAY
from headrace.settings import Settings, redis_url
from headrace.text.quoting import quoted
from headrace_worker.hint_channel import GuardedChannel, bytes_of

log = structlog.stdlib.get_logger("headrace.worker")

# Of these two the arguments are shown: a masked URL and what is wrong with the link to Redis.
SAFE = ("consumer: Cannot connect to", "%s (%r)")
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
LEVELS = {"debug", "info", "warning", "error", "critical"}


def make_app(settings: Settings) -> Celery:
    """The application of a worker with these settings. Raises `Unreachable` when no server is named or found."""
    app: Any = Celery("headrace", fixups=[])
    app.conf.update(hints.configure(redis_url(settings), settings.namespace))
    app.conf.worker_consumer = "headrace_worker.celery_app:HintConsumer"
    app.headrace_settings = settings
    importlib.import_module("headrace_worker.tasks").register(app)
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        globals()["app"] = made = make_app(Settings.load())
        return made
    raise AttributeError(name)


class HintConsumer(Consumer):
    """Celery's consumer without faults of 5.7, each of which ends the worker, or makes it connect anew for ever."""

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Celery's, with a channel that sets aside what is in a queue and is no message."""
        app: Any = self.app
        connection = app.connection_for_read(heartbeat=heartbeat)
        connection.transport.Channel = partial(GuardedChannel, on_reject=self.on_reject)
        return self.ensure_connected(connection)

    def on_reject(self, raw: bytes, queue: str, why: str) -> None:
        tell = getattr(self.app, "headrace_on_reject", None)
        if tell is None:
            log.error("a message was set aside: it is no hint", queue=queue, bytes=len(raw), why=why)
        else:
            tell(raw, queue, why)

    def loop(self, *args: Any) -> None:
        """Whatever else a message makes of the hub: the worker connects anew and goes on, its tasks run all the while."""
        try:
            asynloop(*args)
        except Exception as error:
            if isinstance(error, (*self.connection_errors, *AWAY)):
                raise
            log.error("the hub failed, connecting anew", kind=kind_of(error), where=where_of(error))
            raise ConnectionError(kind_of(error)) from None

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Some kinds of bad messages are caught, others (a body that is no triple, or nested too deeply) raise through the
        loop; the worker ends, the message returns and ends the next one."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except Exception as error:
                if isinstance(error, (*self.connection_errors, *AWAY)):
                    raise
                self.set_aside(message, kind_of(error))

        return on_task_received

    def set_aside(self, message: Any, why: str) -> None:
        """Take `message` out of the queue for good. Celery's own way looks into its body, which is what just failed."""
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)
        self.on_reject(bytes_of(message), queue_of(message), why)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self.set_aside(message, "no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Any) -> None:
        self.set_aside(message, "unregistered task")

    def on_invalid_task(self, body: Any, message: Any, exc: Any) -> None:
        self.set_aside(message, kind_of(exc))

    def on_decode_error(self, message: Any, exc: Any) -> None:
        self.set_aside(message, kind_of(exc))

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """A task outlives a break of the link. Its channel is gone when it ends, and acknowledging there raises
        AttributeError. The hint comes back after the visibility timeout and finds its record finished."""

        def acknowledge(*args: Any, **kwargs: Any) -> None:
            try:
                p(*args, **kwargs)
            except AttributeError:
                log.info("a hint from before the link broke stays unacknowledged")

        return super().call_soon_ack(acknowledge, *args, **kwargs)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """A broken link is closed twice. If the first time fails early, the channel tries to put held messages back
        when the link is gone, which raises AttributeError. Those hints come back after the visibility timeout."""
        connection: Any = self.connection
        close = connection.close

        def close_again() -> None:
            with contextlib.suppress(AttributeError):
                close()

        connection.close = close_again
        super().on_connection_error_after_connected(exc)


def queue_of(message: Any) -> str:
    place = message.delivery_info
    name = place.get("routing_key") if isinstance(place, dict) else None
    return name if name in QUEUES else "another queue"


class NoBodies(logging.Filter):
    """Reduces a record of somebody else's logger to the kind of problem: its format without arguments, and the type and
    place of its exception. Celery's own lines for unknown and undecodable messages quote the whole body."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not record.name.startswith("headrace"):
            form = str(record.msg).strip()
            safe = record.name == "celery.worker.consumer.consumer" and form.startswith(SAFE)
            text = record.getMessage() if safe else PLACEHOLDER.sub("…", form)
            record.msg, record.args = text.partition("\n")[0][:200], ()
        if error is not None:
            record.msg = f"{record.msg} kind={kind_of(error)} where={where_of(error)!r}"
        record.exc_info, record.exc_text, record.stack_info = None, None, None
        return True


def configure_logging(level: str) -> None:
    """Log to stderr. Ours from `level` on, others' from `warning`. Raises `SettingsError` for another level."""
    if level.lower() not in LEVELS:
        raise SettingsError(f"HEADRACE_LOG_LEVEL={quoted(level)}: use one of {', '.join(sorted(LEVELS))}")
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamp]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(NoBodies())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("headrace").setLevel(level.upper())
    # Celery warns at each reconnect about a setting that we have made on purpose.
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    signals.setup_logging.connect(_keep_logging, weak=False)


def render(_: Any, __: str, event: Any) -> str:
    """`time level logger: event key=value …`, on one line."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<8} {event.pop('logger')}: {event.pop('event')}"
    for drop in ("exc_info", "stack_info", "exception"):
        event.pop(drop, None)
    pairs = (f"{key}={plain(value)}" for key, value in event.items())
    return " ".join([head.replace("\n", " "), *pairs])


def plain(value: Any) -> str:
    text = str(value)
    return text if text and not re.search(r'[\s"=]', text) else repr(text)


def _keep_logging(**_: Any) -> None:
    """That this signal has a receiver keeps Celery from setting up logging of its own."""
