"""Hints: the Celery messages. A hint is the id of a record and nothing else; the record itself is in the ledger.

A hint may be lost, doubled or late: claiming the record decides what happens. That is why prompts are never in Flower,
in `inspect`, in an error log or in the broker's lists. The SDK, the gateway and the workers all publish through
`Hints`, and `configure` is the one place of the Celery settings. Importing this module does not import Celery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headrace.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from celery import Celery

INTERACTIVE = "interactive"
BULK = "bulk"
QUARANTINE = "quarantine"
QUEUES = (INTERACTIVE, BULK, QUARANTINE)

JOB = "headrace.job"
SHARD = "headrace.shard"

SHARD_ID = re.compile(r"batch_[^.]+\.(s\d+|join)")


def task_name(record_id: str) -> str:
    """The task that works on `record_id`: `job_…` is a job, `batch_….s<n>` and `batch_….join` are shards' work."""
    if record_id.startswith("job_"):
        return JOB
    if SHARD_ID.fullmatch(record_id):
        return SHARD
    raise ValueError(f"{record_id!r} is the id of no job and no shard: `job_…`, `batch_….s<n>` or `batch_….join`")


def key_prefix(namespace: str) -> str:
    """What every broker key and channel of `namespace` begins with.

    It carries the ledger's tag, so that one ACL pattern covers both and all keys share one slot. kombu puts it before
    keys and also before pub/sub channels, which know no databases: events and remote control stay inside the namespace.
    """
    return f"{{{namespace}}}celery:"


def queue_key(namespace: str, queue: str) -> str:
    """The Redis list in which the hints of `queue` wait (for `LLEN`)."""
    return key_prefix(namespace) + queue


def unacked_key(namespace: str) -> str:
    """The Redis hash of the hints that workers hold (for `HLEN`)."""
    return key_prefix(namespace) + "unacked"


def broker_url(redis_url: str) -> str:
    """The same server in kombu's spelling: `unix:///path?db=1` is `redis+socket:///path?virtual_host=1` there."""
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
        f"HEADRACE_REDIS_URL begins with {parts.scheme!r}: use `redis://host:port/0`, `rediss://…` or `unix:///path`"
    )


def configure(redis_url: str, namespace: str) -> dict[str, Any]:
    """The Celery settings, the same in every process. Each one is there for a fault that was met by running into it."""
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


class Hints:
    """Publishes hints; may be shared by threads. It connects with the first hint.

    `send` raises `Unreachable` when the broker did not take the hint after a few attempts, at most some seconds each;
    the record is then in the ledger all the same, and is published again when it is due.
    """

    def __init__(self, redis_url: str, namespace: str):
        self._url = redis_url
        self._namespace = namespace
        self._opened: tuple[Celery, Any] | None = None

    def send(self, queue: str, record_id: str) -> None:
        """Publish one hint. Raises `ValueError` for a queue or an id that does not exist."""
        self.send_many([(queue, record_id)])

    def send_many(self, hints: Iterable[tuple[str, str]]) -> None:
        """Publish `(queue, id)` pairs in as few round trips as the broker allows.

        When it raises, some of them may have been published: to send all of them again is harmless.
        """
        work = [(queue, record_id, task_name(record_id)) for queue, record_id in hints]
        for queue, _, _ in work:
            if queue not in QUEUES:
                raise ValueError(f"there is no queue {queue!r}: {', '.join(QUEUES)}")
        if not work:
            return
        from kombu.exceptions import KombuError, OperationalError
        from redis.exceptions import RedisError

        app, producers = self._open()
        try:
            with producers.acquire(block=True, timeout=5) as producer:
                if len(work) == 1:
                    self._publish(app, producer, *work[0])
                    return
                with producer.batch():
                    for each in work:
                        self._publish(app, producer, *each)
        except (OperationalError, KombuError, RedisError, OSError) as error:
            raise Unreachable(
                f"no hint could be sent: the broker at {_without_password(self._url)} does not take messages "
                f"({type(error).__name__}: {error}). Is Redis running? `headrace up` starts one; "
                "HEADRACE_REDIS_URL names another."
            ) from error

    def close(self) -> None:
        """Close the connections. A later `send` opens them again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            app, producers = opened
            producers.force_close_all()
            producers.connections.force_close_all()
            app.close()

    def _publish(self, app: Celery, producer: Any, queue: str, record_id: str, task: str) -> None:
        app.send_task(
            task,
            args=[record_id],
            queue=queue,
            argsrepr=record_id,
            kwargsrepr="{}",
            ignore_result=True,
            producer=producer,
        )

    def _open(self) -> tuple[Celery, Any]:
        opened = self._opened
        if opened is None:
            from celery import Celery
            from kombu.pools import ProducerPool

            settings = configure(self._url, self._namespace)
            # A publisher waits less than a worker: its caller holds an open request. One attempt ends after 3 s.
            settings["broker_transport_options"] |= {"socket_timeout": 3, "max_connections": 16}
            app = Celery("headrace", set_as_current=False, fixups=[])
            app.conf.update(settings)
            # Celery's own pool is one per process and URL: closing it would close it for other `Hints` as well.
            pool = ProducerPool(app.connection_for_write().Pool(limit=10), limit=10)
            self._opened = opened = (app, pool)  # two threads may both come here: the loser's pool never connects
        return opened


def _without_password(url: str) -> str:
    return re.sub(r"(://[^/@]*:)[^/@]*@", r"\1***@", url)
