"""`--api URL`, of every command that asks the service: it goes through a gateway."""

from __future__ import annotations

import os
from typing import Any

import click

from headrace.settings import variable

OPTION = "--api"


def take_api(command: click.Command) -> None:
    """Give the option to `command`, or to every command of a group."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            take_api(each)
    elif not any(OPTION in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                [OPTION],
                metavar="URL",
                envvar=variable("api"),
                expose_value=False,
                is_eager=True,
                callback=go_through,
                help=f"Go through the gateway at this address, with the key in {variable('api_key')}: no Redis is needed.",
            )
        )


def go_through(context: click.Context, parameter: click.Parameter, url: Any) -> Any:
    """Have this process reach the service through the gateway at `url`."""
    if url:
        from headrace.chat.model_aliases import resolved_elsewhere

        os.environ[variable("api")] = url
        context.with_resource(resolved_elsewhere())
    return url
