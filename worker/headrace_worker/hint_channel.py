"""Kombu's channel with a guard before decoding: an entry of a queue that is no message is set aside, not raised.

Kombu removes the message from the queue and raises its decoding error: the message is lost, and the worker reconnects. A
message that can be decoded but not delivered is requeued by that, and fails again, forever (a poison message).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from queue import Empty
from typing import Any, Literal

from kombu.asynchronous import get_event_loop
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS
from kombu.transport.virtual.base import QoS as VirtualQoS
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from headrace.ledger.script import UNAVAILABLE
from headrace.text.safe_errors import kind_of

GROUP_S = 0.1
"""Seconds for which messages that were taken or acknowledged are collected, before the broker is told of all of them."""

AGAIN_S = 1.0
"""Seconds after which the broker is told again of what it refused."""

OnReject = Callable[[bytes, str, str], None]
"""Callback with the data that was set aside, its queue, and the reason, which does not quote it."""


class NoMessageError(ValueError):
    """The entry of a queue is no Celery message."""


def parse(raw: bytes) -> dict[str, Any]:
    """Return the message that `raw` is. Raises `NoMessageError`, or whatever its decoding raises (`RecursionError` is one)."""
    message = loads(bytes_to_str(raw))
    if not isinstance(message, dict) or not isinstance(properties := message.get("properties"), dict):
        raise NoMessageError("no properties of a message")
    if not isinstance(place := properties.get("delivery_info"), dict):
        raise NoMessageError("no delivery info")
    if not all(isinstance(place.get(name), str) for name in ("exchange", "routing_key")):
        raise NoMessageError("no place that it was sent to")
    if not (isinstance(properties.get("delivery_tag"), str) and properties["delivery_tag"]):
        raise NoMessageError("no delivery tag")
    if not isinstance(message.get("body"), str):
        raise NoMessageError("no body")
    if not isinstance(message.get("headers"), dict):
        raise NoMessageError("no headers")
    return message


def why_of(error: Exception) -> str:
    return str(error) if isinstance(error, NoMessageError) else kind_of(error)


class GuardedQoS(QoS):
    """Keeps the broker's list of unacknowledged messages in groups: what was taken and acknowledged within `GROUP_S` is never
    written there. Should the process die meanwhile, the ledger's `due` publishes those hints again.

    Requeues unacknowledged messages; one that cannot be decoded is set aside instead of being requeued forever.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._unlisted: dict[Any, tuple[Any, float]] = {}  # tag -> message, when it was taken
        self._acknowledged: list[Any] = []  # of those that are listed
        self._scheduled = False

    def append(self, message: Any, delivery_tag: Any) -> None:
        VirtualQoS.append(self, message, delivery_tag)
        self._unlisted[delivery_tag] = message, time.time()
        self._schedule()

    def ack(self, delivery_tag: Any) -> None:
        VirtualQoS.ack(self, delivery_tag)
        if self._unlisted.pop(delivery_tag, None) is None:
            self._acknowledged.append(delivery_tag)
            self._schedule()

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if requeue:
            self.write()
            super().reject(delivery_tag, requeue=True)
        else:
            self.ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        if self._unlisted or self._acknowledged:
            self.write()
        super().restore_unacked_once(stderr)

    def _schedule(self, after_s: float = GROUP_S) -> None:
        hub = get_event_loop()
        if hub is None:
            self.write()
        elif not self._scheduled:
            self._scheduled = True
            hub.call_later(after_s, self._write_later)

    def _write_later(self) -> None:
        self._scheduled = False
        if self.channel.closed:
            return
        try:
            self.write()
        except Exception:
            self._schedule(AGAIN_S)  # a server without memory, say: perhaps no other message comes that would tell it
            raise

    def write(self) -> None:
        """Tell the broker what is unacknowledged. Raises what the connection raises; then it is told the next time."""
        unlisted, acknowledged = dict(self._unlisted), list(self._acknowledged)
        with self.pipe_or_acquire() as pipe:
            for tag, (message, taken_at) in unlisted.items():
                place = message.delivery_info
                entry = json.dumps([message._raw, place["exchange"], place["routing_key"]])
                pipe.zadd(self.unacked_index_key, {tag: taken_at}).hset(self.unacked_key, tag, entry)
            for tag in acknowledged:
                self._remove_from_indices(tag, pipe)
            pipe.execute()
        for tag in unlisted:
            self._unlisted.pop(tag, None)
        del self._acknowledged[: len(acknowledged)]

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except UNAVAILABLE:
            raise
        except Exception as error:
            with self.channel.conn_or_acquire(client) as connection:
                raw = connection.hget(self.unacked_key, tag)
            self._remove_from_indices(tag).execute()
            self.channel.on_reject(raw or b"", "unacked", kind_of(error))


class GuardedChannel(RedisChannel):
    """The channel of the worker's consumer."""

    QoS = GuardedQoS

    def __init__(self, *args: Any, on_reject: OnReject, **kwargs: Any):
        self.on_reject = on_reject
        super().__init__(*args, **kwargs)

    def _brpop_read(self, **options: Any) -> Literal[True]:
        """Read a message as kombu does, with the guard between taking and delivering."""
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()  # the next round connects anew
                raise
            if not reply:
                raise Empty
            queue = bytes_to_str(reply[0]).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self._hand_over(reply[1], queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _hand_over(self, raw: bytes, queue: str) -> None:
        message: dict[str, Any] = {}
        try:
            message = parse(raw)
            self.connection._deliver(message, queue)
        except UNAVAILABLE:
            raise
        except Exception as error:
            if message and message["properties"]["delivery_tag"] in self.qos._delivered:
                self.qos.reject(message["properties"]["delivery_tag"], requeue=False)
            self.on_reject(bytes(raw), queue, why_of(error))

    def _receive_one(self, c: Any) -> Any:
        """Receive a message of the fan-out (remote control, events): one nested too deeply is passed over, as other bad
        ones are."""
        try:
            return super()._receive_one(c)
        except RecursionError as error:
            self.on_reject(b"", "fanout", kind_of(error))
            raise Empty from None


def bytes_of(message: Any) -> bytes:
    """Return a message that kombu has taken apart as bytes again, as far as that goes."""
    try:
        return json.dumps(message._raw).encode()
    except (TypeError, ValueError, RecursionError, AttributeError):
        return b""
