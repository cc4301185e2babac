"""The context of the checks of `headrace doctor`: a finding, and what they look at."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from headrace.broker.hints import broker_url, configure
from headrace.errors import SettingsError, Unreachable
from headrace.guards.service_address import files_address, redis_url
from headrace.settings import Settings
from headrace.text.masking import masked

if TYPE_CHECKING:  # it brings redis-py
    from headrace.ledger.inspection import Inspection

Status = Literal["ok", "warning", "error", "skipped"]

REDIS_S = 3.0
WORKERS_S = 2.0


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. `fix` is what to do about it; it is empty only when the status is `ok`."""

    name: str
    status: Status
    what: str
    fix: str = ""


class DoctorContext:
    """The surroundings that the checks look at: the settings, the environment, and a connection made on first use."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]):
        self.settings = settings
        self.environ = environ
        self.unreachable = False  # set by `service` and `redis_answers`

    @cached_property
    def url(self) -> str:
        """The URL of the service. Raises `Unreachable`, or `SettingsError` for a URL that cannot be used."""
        url = redis_url(self.settings)
        try:
            broker_url(url)
        except ValueError:
            raise SettingsError("HEADRACE_REDIS_URL cannot be read as a URL") from None
        return url

    @cached_property
    def client(self) -> Any:
        """A (sync) redis client that tries once."""
        try:
            return connect(self.url)
        except ValueError:
            # Its text may quote a piece of the password: one with a `/` in it is taken for a port.
            raise SettingsError("HEADRACE_REDIS_URL cannot be read as a URL") from None

    @cached_property
    def inspection(self) -> Inspection:
        """The ledger, read over `client`."""
        from headrace.ledger.inspection import Inspection

        return Inspection(self.client, self.settings.namespace)

    @cached_property
    def files(self) -> str:
        """The address of the file store as a worker started here would look for it."""
        return files_address(self.settings)

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """Return what the server says of eviction and persistence, by `CONFIG` or by `INFO`; None when it says neither."""
        from redis.exceptions import ResponseError

        try:
            return self.client.config_get("maxmemory-policy", "appendonly")
        except ResponseError:
            pass
        try:
            info = self.client.info()
            return {
                "maxmemory-policy": info["maxmemory_policy"],
                "appendonly": "yes" if info["aof_enabled"] else "no",
            }
        except (ResponseError, KeyError):
            return None

    @cached_property
    def workers(self) -> dict[str, list[str]]:
        """The queues of each worker that answers, by its name."""
        return ask_workers(self.url, self.settings.namespace, WORKERS_S)


def connect(url: str) -> Any:
    """Return a (sync) redis client that tries once. Raises `ValueError` for what is no URL."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url, socket_connect_timeout=REDIS_S, socket_timeout=REDIS_S, retry=Retry(NoBackoff(), 0)
    )


def ask_workers(url: str, namespace: str, timeout_s: float, *, only: str | None = None) -> dict[str, list[str]]:
    """Return the queues of each worker that answers within `timeout_s`, by its name; of the worker `only`, if given.

    Raises `Unreachable` when the broker takes no question.
    """
    from celery import Celery
    from kombu.exceptions import KombuError
    from redis.exceptions import RedisError

    settings = configure(url, namespace)
    settings["broker_transport_options"] |= {"socket_timeout": REDIS_S, "max_connections": 4}
    settings |= {"broker_connection_retry": False, "broker_connection_max_retries": 0}
    app: Any = Celery("headrace", set_as_current=False, fixups=[])
    app.conf.update(settings)
    try:
        with connect(url) as client:
            client.ping()  # kombu would try for many seconds
        inspect = app.control.inspect([only] if only else None, timeout=timeout_s, limit=1 if only else None)
        replies = inspect.active_queues() or {}
    except (KombuError, RedisError, OSError) as error:
        raise Unreachable(f"no question to the workers goes through {masked(url)}: {type(error).__name__}") from None
    finally:
        app.close()
    return {name: [queue["name"] for queue in queues] for name, queues in replies.items()}
