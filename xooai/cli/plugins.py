"""`xooai plugins`: the installed drivers and stores."""

from __future__ import annotations

import click

from xooai.cli.installed import plugin_table

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  xooai plugins
  xooai plugins | grep grpc

Works without the extra `cli` too."""
)
def command() -> None:
    """List the installed drivers and stores.

    One line for each URL scheme: whether it is a driver (for calls) or a store (for content), the distribution that it
    came with, its module, and whether it loads; where it does not, what to install. Each is imported to find that out.
    """
    click.echo(plugin_table())


command.name = "plugins"
