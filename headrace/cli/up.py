"""`headrace up`: the whole service on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headrace.settings import Settings


@click.command(epilog="Example: headrace up --rehearsal")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="State folder. [default: nearest .headrace]"
)
@click.option(
    "--port", type=click.IntRange(0, 65533), default=8400, show_default=True, help="First port; 0 takes free ones."
)
@click.option(
    "--ready-file", type=click.Path(path_type=Path, dir_okay=False), help="JSON of all addresses, once all answer."
)
@click.option("--rehearsal", is_flag=True, help="Start the stand-in provider, also when a provider's key is set.")
@click.option("--rehearsal-flag", multiple=True, help="Passed on to it, for example --rehearsal-flag=--latency=300.")
@click.option(
    "--gateway/--no-gateway", default=True, show_default=True, help="Start the gateway and its page (loopback)."
)
@click.option("--flower/--no-flower", default=True, show_default=True, help="Start Flower (loopback, with a password).")
@click.option("--flower-writable", is_flag=True, help="Let Flower revoke tasks and shut workers down.")
@click.option(
    "--until-stdin-ends", is_flag=True, help="Stop when standard input ends: with the program that started it."
)
def up(
    data: Path | None,
    port: int,
    ready_file: Path | None,
    rehearsal: bool,
    rehearsal_flag: tuple[str, ...],
    gateway: bool,
    flower: bool,
    flower_writable: bool,
    until_stdin_ends: bool,
) -> None:
    """Run the service: Valkey, the workers, the gateway, Flower, and without a provider's key the rehearsal provider.

    Ctrl-C stops it in order: running calls finish first. Set HEADRACE_REDIS_URL to use a server of yours.
    """
    from headrace.cli.ready import checked_ready_file
    from headrace.guards.service_address import STATE_FOLDER, find_state_folder
    from headrace.local.stack import Stack, StackOptions
    from headrace.logs import configure
    from headrace.settings import Settings

    if ready_file is not None:
        checked_ready_file(ready_file)
    options = StackOptions(
        data or find_state_folder(to_mend=True) or Path(STATE_FOLDER),
        port=port,
        ready_file=ready_file,
        rehearsal=rehearsal,
        rehearsal_flags=rehearsal_flag,
        gateway=gateway,
        flower=flower,
        flower_writable=flower_writable,
        until_stdin_ends=until_stdin_ends,
    )
    configure("warning")
    settings = Settings.load()
    check_tables(settings)
    sys.exit(Stack(settings, options).run())


def check_tables(settings: Settings) -> None:
    """Raise `SettingsError` for a table of providers, limits or prices that no worker could start with."""
    from headrace.chat.call_limits import call_limits
    from headrace.chat.provider_table import providers
    from headrace.spend.prices import local_profiles

    call_limits(os.environ, providers(os.environ))
    local_profiles(settings.profiles or "")
