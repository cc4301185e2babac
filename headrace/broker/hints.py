"""Hints: the Celery messages. A hint is the id of a record and nothing else; the record itself is in the ledger.

Delivery of hints is best effort: one may be lost, duplicated or late, and claiming the record decides. So prompts are never
in Flower, in `inspect`, in an error log or in the broker's lists. The SDK, the gateway and the workers all publish through
`Hints`, and `configure` is the only place of the Celery settings. Importing this module does not import Celery.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from headrace.broker.queue import SENT_HEADER, key_prefix, queue_key
from headrace.errors import SettingsError
from headrace.ledger.queues import INTERACTIVE, QUEUES
from headrace.text.quoting import quoted

if TYPE_CHECKING:  # they would bring redis-py
    from headrace.ledger.queued_record import HintCounts
    from headrace.ledger.script import Ledger

JOB = "headrace.job"
SHARD = "headrace.shard"

NO_TASKS: Mapping[str, str] = {}
SHARD_ID = re.compile(r"batch_[^.]+\.(s\d+|join|check)")


def task_name(record_id: str) -> str:
    """Return the name of the task for `record_id`: `job_…` is a job; `batch_….s<n>`, `.join` and `.check` are shards' work."""
    if record_id.startswith("job_"):
        return JOB
    if SHARD_ID.fullmatch(record_id):
        return SHARD
    raise ValueError(
        f"{quoted(record_id)} is the id of no job and no shard: `job_…`, `batch_….s<n>`, `.join` or `.check`"
    )


def is_hint(queue: str, record_id: str) -> bool:
    """Return True if there can be a hint of `record_id` in `queue`."""
    return queue in QUEUES and (record_id.startswith("job_") or SHARD_ID.fullmatch(record_id) is not None)


def broker_url(redis_url: str) -> str:
    """Return the same server's URL in kombu's spelling: `unix:///path?db=1` is `redis+socket:///path?virtual_host=1` there."""
    from urllib.parse import parse_qsl, urlencode, urlsplit

    parts = urlsplit(redis_url)
    query = dict(parse_qsl(parts.query))
    database = query.pop("db", None)
    if parts.scheme in ("unix", "redis", "rediss"):
        path = parts.path
        if database is not None and parts.scheme == "unix":
            query["virtual_host"] = database
        elif database is not None:
            path = f"/{database}"
        scheme = "redis+socket" if parts.scheme == "unix" else parts.scheme
        return f"{scheme}://{parts.netloc}{path}" + (f"?{urlencode(query)}" if query else "")
    raise SettingsError(
        f"HEADRACE_REDIS_URL begins with {quoted(parts.scheme)}: use `redis://host:port/0`, `rediss://…` or `unix:///path`"
    )


def configure(redis_url: str, namespace: str) -> dict[str, Any]:
    """Return the Celery settings, the same in every process. Each one prevents a fault that was met in practice."""
    from kombu.entity import Exchange, Queue

    return {
        "broker_url": broker_url(redis_url),
        "broker_transport_options": {
            # A backstop only: recovery is the lease's. Above a call's deadline (600 s) and the drain.
            "visibility_timeout": 3600,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,  # kombu's default is None: a publish on a dead link hangs for ever
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,  # a half-open link is noticed after some 21 s
            "retry_on_timeout": False,  # or a lost reply becomes a second LPUSH
            "max_connections": 256,
            "global_keyprefix": key_prefix(namespace),
            "client_name": f"headrace-{namespace}",
            "priority_steps": [0],  # one list per queue: priority is a queue with workers of its own
            "queue_order_strategy": "round_robin",
        },
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,  # survive OOM, READONLY and LOADING
        "broker_pool_limit": 10,
        "broker_pool_acquire_timeout": 5,  # the default blocks a publisher for ever
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_acks_on_failure": True,  # the outcome is in the record, retries are the ledger's
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": False,  # unbounded: a job that kills its worker ran 172 times in 10 s
        "task_retry_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,  # hold exactly what runs
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # a paid call survives a blink of Redis
        "worker_enable_prefetch_count_reduction": True,
        "worker_soft_shutdown_timeout": 0,  # it is a blocking sleep; the pool drains
        "task_publish_retry": True,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3, "interval_max": 1},
        "task_time_limit": None,
        "task_soft_time_limit": None,
        "task_serializer": "json",
        "accept_content": ["json"],  # no pickle
        "task_compression": None,
        "task_create_missing_queues": False,  # a typo must fail, not make a queue that nobody reads
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES],
        "task_default_queue": INTERACTIVE,
        "worker_disable_rate_limits": True,
        "worker_eta_task_limit": 100,
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_log_color": False,
    }


def task_id(record_id: str, counts: HintCounts | None) -> str:
    """Return the id of the Celery message of a record: its own for the first attempt, `….2` for the second, `….2-3` for the
    third hint of that one. `counts` are the record's numbers of both, None when it has none.

    No two messages share one: a worker remembers the revoked ones, and Flower the outcome of each.
    """
    if counts is None:  # gone, or damaged: whoever claims it sees that
        return f"{record_id}.{uuid4().hex[:12]}"
    attempt = counts.attempts + 1
    if counts.hints > 1:
        return f"{record_id}.{attempt}-{counts.hints}"
    return record_id if attempt == 1 else f"{record_id}.{attempt}"


class Hints:
    """Publishes hints over the ledger's connection, which is the broker's server too.

    The message is what Celery itself makes of `send_task`, made once per queue and task and filled in after that: a
    publish through kombu costs 0.85 ms, this 5 µs.
    """

    def __init__(self, namespace: str):
        self._namespace = namespace
        self._envelopes: dict[tuple[str, str], str] = {}

    def envelope(self, queue: str, record_id: str, task: str | None = None) -> bytes:
        """Return the message that stands in the queue's list, with the id `task` (`task_id`; default: that of a first
        hint). Raises `ValueError` for a queue or an id that does not exist.

        The first one imports Celery (0.3 s).
        """
        name = task_name(record_id)
        if queue not in QUEUES:
            raise ValueError(f"there is no queue {quoted(queue)}: {', '.join(QUEUES)}")
        envelope = self._envelopes.get((queue, name))
        if envelope is None:
            envelope = self._envelopes[queue, name] = celery_message(self._namespace, queue, name)
        body = b64encode(BODY.replace(RECORD, record_id).encode()).decode()
        return (
            envelope.replace(BODY_MARK, body)
            .replace(RECORD, record_id)
            .replace(TASK_ID, task or record_id)
            .replace(DELIVERY, str(uuid4()))
            .replace(SENT_MS, str(int(time.time() * 1000)))
            .encode()
        )

    def push(
        self, hints: Iterable[tuple[str, str]], tasks: Mapping[str, str] = NO_TASKS
    ) -> list[tuple[str | bytes, ...]]:
        """Return `(queue, id)` pairs as Redis commands, one `LPUSH` a queue, for whoever has a pipeline to put them in.
        `tasks`: the ids of the messages by those of their records, where they are not the first hints."""
        queues: dict[str, list[bytes]] = {}
        for queue, record_id in hints:
            queues.setdefault(queue, []).append(self.envelope(queue, record_id, tasks.get(record_id)))
        return [("LPUSH", queue_key(self._namespace, queue), *messages) for queue, messages in queues.items()]

    async def publish(self, ledger: Ledger, hints: Iterable[tuple[str, str]]) -> None:
        """Publish `(queue, id)` pairs of new records in one round trip. Raises what the ledger's connection raises.

        After an error some may have been published: publishing all of them again is harmless, and `due` finds those that
        are not.
        """
        await self._send(ledger, self.push(hints))

    async def publish_again(self, ledger: Ledger, hints: Iterable[tuple[str, str]]) -> None:
        """Publish hints as `publish` does, for records that may have had some before: each message is numbered by what
        its record says."""
        hints = list(hints)
        if not hints:
            return
        from headrace.ledger.queued_record import hint_counts

        ids = [record_id for _, record_id in hints]
        counts = await hint_counts(ledger, ids)
        tasks = {record_id: task_id(record_id, count) for record_id, count in zip(ids, counts, strict=True)}
        await self._send(ledger, self.push(hints, tasks))

    async def _send(self, ledger: Ledger, commands: list[tuple[str | bytes, ...]]) -> None:
        if commands:
            await ledger.send(commands)


# What stands in the envelope where a hint's own values go.
RECORD, TASK_ID, DELIVERY, BODY_MARK, SENT_MS = "job_RECORD", "TASK-ID", "DELIVERY-TAG", "MESSAGE-BODY", "SENT-MS"
BODY = '[["job_RECORD"], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def celery_message(namespace: str, queue: str, task: str) -> str:
    """Return the message of one hint with the marks above in it, as Celery and kombu make it (into their in-memory
    transport)."""
    from celery import Celery

    settings = configure("redis://unused", namespace) | {"broker_url": "memory://", "broker_transport_options": {}}
    app = Celery("headrace", set_as_current=False, fixups=[])
    app.conf.update(settings)
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        app.send_task(
            task,
            args=[RECORD],
            task_id=TASK_ID,
            queue=queue,
            argsrepr=RECORD,
            kwargsrepr="{}",
            ignore_result=True,
            headers={SENT_HEADER: SENT_MS},
            producer=app.amqp.Producer(channel),
        )
        message = channel._get(queue)
    body = b64decode(message["body"]).decode()
    if body != BODY:
        raise RuntimeError(f"this Celery writes another message than the one headrace knows: {body}")
    message["body"] = BODY_MARK
    message["properties"]["delivery_tag"] = DELIVERY
    app.close()
    return json.dumps(message)
