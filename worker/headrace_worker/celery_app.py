"""The Celery application of a worker.

`make_app` is what `python -m headrace_worker` starts; `app` is the same, made at its first use, for `celery -A
headrace_worker.celery_app`.
"""

from __future__ import annotations

import contextlib
import importlib
from functools import partial
from typing import Any

from celery import Celery, signals
from celery.worker.consumer import Consumer
from celery.worker.loops import asynloop
from kombu.asynchronous import set_event_loop

from headrace.broker import hints
from headrace.guards.service_address import redis_url
from headrace.ledger.queues import QUEUES
from headrace.ledger.script import UNAVAILABLE
from headrace.logs import get_logger
from headrace.settings import Settings
from headrace.text.safe_errors import kind_of, where_of
from headrace_worker.hint_channel import GuardedChannel, bytes_of

log = get_logger("headrace.worker.celery_app")


EVENTS_S = 0.25
MAX_EVENTS = 500
"""Events of tasks that are published together at most."""


def keep_logging(**_: Any) -> None:
    """Keep Celery from setting up logging of its own, which it does where this signal has no receiver."""


def make_app(settings: Settings) -> Celery:
    """Return the application of a worker with these settings. Raises `Unreachable` when no server is named or found."""
    signals.setup_logging.connect(keep_logging, weak=False)
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
    """Celery's consumer with workarounds for faults of 5.7, each of which ends the worker, or makes it reconnect forever."""

    _flush_is_due = False

    def on_send_event_buffered(self) -> None:
        """Send the events of tasks in groups, four times a second: Celery publishes those of every turn of its loop."""
        if self.hub is not None and not self._flush_is_due:
            self._flush_is_due = True
            celery: Any = self
            celery.event_dispatcher.buffer_limit = MAX_EVENTS
            self.hub.call_later(EVENTS_S, self._flush_events)

    def _flush_events(self) -> None:
        self._flush_is_due = False
        super()._flush_events()

    def _keep_events(self) -> None:
        """Pass the events that are not sent yet on to the next dispatcher: Celery drops what is grouped when a link breaks."""
        celery: Any = self
        dispatcher = celery.event_dispatcher
        if dispatcher is not None:
            for group, events in dispatcher._group_buffer.items():
                if events:
                    dispatcher._outbound_buffer.append((list(events), f"{group}.multi"))
                    events.clear()

    def tell_broker(self) -> None:
        """Send what is collected: the events of tasks, and the messages that were taken and acknowledged."""
        self._flush_events()
        celery: Any = self
        celery.task_consumer.channel.qos.write()

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Return Celery's connection, with a channel that sets aside what is in a queue and is no message."""
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
        """Run Celery's loop; whatever else a message makes of the hub, the worker connects anew and goes on, its tasks
        run all the while."""
        set_event_loop(self.hub)  # resetting it, as after a broken link, has taken it away from the channels
        try:
            asynloop(*args)
        except Exception as error:
            if isinstance(error, (*self.connection_errors, *UNAVAILABLE)):
                raise
            log.error("the hub failed, connecting anew", kind=kind_of(error), where=where_of(error))
            raise ConnectionError(kind_of(error)) from None

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Return Celery's handler, with every message caught that it fails at. It catches some kinds of bad messages
        itself; others (a body that is no triple, or nested too deeply) raise through the loop: the worker ends, the
        message returns and ends the next one."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except Exception as error:
                if isinstance(error, (*self.connection_errors, *UNAVAILABLE)):
                    raise
                self.set_aside(message, kind_of(error))

        return on_task_received

    def set_aside(self, message: Any, why: str) -> None:
        """Reject `message`, and set it aside. Celery's own way decodes its body, which is what just failed."""
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

    def cancel_active_requests(self) -> None:
        """Leave what runs at a cold shutdown to the pool, which hands it back as it stops: Celery would have it cancelled in
        the way of a revoke, which ends its record."""

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Schedule an acknowledgement, and let it fail where the connection broke meanwhile: the task outlives it, its
        channel is gone when it ends, and acknowledging there raises AttributeError. The hint is redelivered after the
        visibility timeout and finds its record finished."""

        def acknowledge(*args: Any, **kwargs: Any) -> None:
            try:
                p(*args, **kwargs)
            except AttributeError:
                log.info("a hint from before the link broke stays unacknowledged")

        return super().call_soon_ack(acknowledge, *args, **kwargs)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close a broken connection, which Celery does twice. If the first time fails early, the channel tries to
        requeue unacknowledged messages when the connection is gone, which raises AttributeError. Those hints are
        redelivered after the visibility timeout."""
        self._keep_events()
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
