"""What several commands take alike."""

from __future__ import annotations

import click

# For the completion of names only: what is wrong with a file is said where it is read or written,
# which is the same for all that can be wrong.
FILE = click.Path(readable=False, allow_dash=True)
