"""Check whether a Redis server may be trusted with the ledger: it must persist, and must not evict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.ledger.script import Ledger


def problems_of(config: dict[str, Any]) -> list[str]:
    """Return the problems of a server with this configuration (`CONFIG GET`), each with its remedy; empty when there is
    none.

    A value that the server does not tell (managed ones forbid the command) is no problem.
    """
    found = []
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        found.append(
            f"it evicts (maxmemory-policy {policy}): records would vanish under memory pressure. "
            "Set `maxmemory-policy noeviction`."
        )
    if config.get("appendonly", "yes") != "yes":
        found.append("it does not persist (appendonly no): a restart loses every job. Set `appendonly yes`.")
    return found


def check_server(client: Any) -> list[str]:
    """Return `problems_of` the server behind a (sync) redis client."""
    from redis.exceptions import ResponseError

    try:
        return problems_of(client.config_get("maxmemory-policy", "appendonly"))
    except ResponseError:
        return []


async def server_uptime_ms(ledger: Ledger) -> int | None:
    """Return the uptime of the ledger's server, to the second; None when it does not say."""
    uptime_s = (await ledger.client.info("server")).get("uptime_in_seconds")
    return None if uptime_s is None else uptime_s * 1000
