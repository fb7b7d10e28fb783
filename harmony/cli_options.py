"""What several commands take alike."""

from __future__ import annotations

import click
from click.core import ParameterSource

# For the completion of names only: what is wrong with a file is said where it is read or written,
# which is the same for all that can be wrong.
FILE = click.Path(readable=False, allow_dash=True)

analysis_policy = click.option(
    "--analysis-policy",
    type=click.Choice(["upstream", "before_last_final", "keep"]),
    default="upstream",
    show_default=True,
    help="Reasoning that is left out. upstream: before the first final message, which is all of a "
    "chat of one turn; before_last_final: before the last one, also all of one turn; keep: none.",
)

header_order = click.option(
    "--header-order",
    type=click.Choice(["recipient_first", "channel_first"]),
    default="recipient_first",
    show_default=True,
    help="What comes first in a header of the assistant; models write the channel first.",
)


def given(ctx: click.Context, *names: str) -> list[str]:
    """Those of the options with these names that are on the command line."""
    return [
        f"--{name.replace('_', '-')}"
        for name in names
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
