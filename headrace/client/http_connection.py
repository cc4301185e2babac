"""Requests to a gateway: sent again while it is away, its errors raised as those of the ledger. Needs the extra `http`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from headrace.errors import (
    Closed,
    Conflict,
    Damaged,
    Expired,
    Finished,
    Gone,
    HeadraceError,
    InputError,
    ModelNotFound,
    Refused,
    SettingsError,
    StorageError,
    Unknown,
    Unreachable,
    WaitTimeout,
)
from headrace.instruments.trace_context import TRACEPARENT, current_traceparent
from headrace.settings import Settings
from headrace.text.masking import masked
from headrace.text.quoting import shortened

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

PATIENCE_S = 60.0
RETRY_S, MAX_RETRY_S = 0.1, 2.0
PIECE_BYTES = 1 << 18
SILENCE_S = 45.0
"""Seconds without a byte after which a connection is given up: a stream has a heartbeat every 15."""
AWAY = frozenset({502, 503, 504})
"""Statuses of who stands between, and of a gateway that cannot answer now."""
KINDS: dict[str, type[HeadraceError]] = {
    "invalid_request": InputError,
    "unknown_parameter": InputError,
    "model_not_found": ModelNotFound,
    "not_found": Unknown,
    "expired": Expired,
    "conflict": Conflict,
    "finished": Finished,
    "closed": Closed,
    "damaged": Damaged,
    "timeout": WaitTimeout,
    "storage": StorageError,
}
"""The exceptions of the codes that a gateway's errors have."""


class HttpConnection:
    """Requests to the gateway at `url`, with `key` as the bearer token. Raises `InputError` for what is no address."""

    def __init__(self, url: str, key: str | None, settings: Settings):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InputError(f"api={masked(shortened(url))}: write the gateway's address, as https://llm.example.org")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections, made on the loop of their first use."""
        if self._session is None:
            try:
                import aiohttp
            except ModuleNotFoundError:
                raise SettingsError(
                    "a gateway's address (`api=`, `--api`) needs the extra `http`: pip install 'headrace[http]'"
                ) from None
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=self._settings.connect_timeout_s, sock_read=SILENCE_S
            )
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=timeout, trust_env=self._settings.trust_env, raise_for_status=False
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        type: type[T] | Any = Any,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        subject: str = "",
        patience_s: float = PATIENCE_S,
    ) -> Any:
        """Return the decoded answer of one request, sent again while the gateway is away: what creates something has an
        idempotency key in `headers`. Raises the error that it answers, about `subject`, and `Unreachable`."""
        data = None if body is None else msgspec.json.encode(body)
        deadline, wait_s = asyncio.get_running_loop().time() + patience_s, RETRY_S
        while True:
            try:
                async with self.request(
                    method, path, data=data, query=query, headers=headers, subject=subject
                ) as answer:
                    raw = await answer.read()
                return msgspec.json.decode(raw, type=type)
            except (OSError, asyncio.IncompleteReadError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise self.unreachable(error) from error
            except msgspec.DecodeError as error:
                raise HeadraceError(f"{self.url}{path}: what came is no answer of a gateway ({error})") from None
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RETRY_S)

    async def send_file(self, path: str, file: IO[bytes], headers: Mapping[str, str]) -> str:
        """Send the content of `file`, again while the gateway is away, and return the `id` of what it made. The request names
        that itself, so that sent twice it is made once."""
        deadline, wait_s = asyncio.get_running_loop().time() + PATIENCE_S, RETRY_S
        while True:
            file.seek(0)
            try:
                async with self.request("POST", path, data=pieces_of(file), headers=headers) as answer:
                    return msgspec.json.decode(await answer.read())["id"]
            except OSError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise self.unreachable(error) from error
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RETRY_S)

    async def lines(self, path: str, query: Mapping[str, str], subject: str) -> AsyncGenerator[bytes]:
        """Yield the lines of one response that are not empty. Raises as `request` does, also when it breaks off."""
        async with self.request("GET", path, query=query, subject=subject) as answer:
            rest = b""
            async for piece in answer.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n")
                for line in filter(None, whole):
                    yield line

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        subject: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response to one request. Raises `ConnectionError` while the gateway is away, and the error that it
        answers."""
        session = self.session
        import aiohttp

        sent = {"content-type": "application/json"} if isinstance(data, bytes) else {}
        if trace := current_traceparent():
            sent[TRACEPARENT] = trace
        try:
            async with session.request(
                method, f"{self.url}{path}", data=data, params=query, headers={**sent, **(headers or {})}
            ) as answer:
                if answer.status >= 400:
                    raise error_of(answer.status, await answer.read(), subject)
                yield answer
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            raise ConnectionError(type(error).__name__) from error

    def unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(
            f"no answer from the gateway at {masked(self.url)}: {error or type(error).__name__}. What was submitted goes on; "
            "see that `headrace gateway` runs there, and that the address is right (HEADRACE_API)."
        )


async def pieces_of(file: IO[bytes]) -> AsyncGenerator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


def error_of(status: int, raw: bytes, subject: str) -> Exception:
    """Return the exception of an error's status and body; a `ConnectionError` for one that passes."""
    try:
        told = msgspec.json.decode(raw)["error"]
        code, message = str(told.get("code")), str(told.get("message"))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        code, message = "", f"status {status}"
    if status in AWAY and code in ("", "unreachable", "interrupted", "http"):
        return ConnectionError(message)
    if status in (401, 403):
        return SettingsError(f"the gateway refuses the key (HEADRACE_API_KEY, `key=`): {message}")
    if code == "gone":
        return told_as(Gone(subject, None), message)
    kind = KINDS.get(code)
    if kind is None:
        return HeadraceError(message)
    return told_as(kind(subject), message) if issubclass(kind, Refused) else kind(message)


def told_as(error: HeadraceError, message: str) -> HeadraceError:
    """Return `error` with the gateway's own message."""
    error.args = (message,)
    return error
