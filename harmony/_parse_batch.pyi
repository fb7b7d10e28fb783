from collections.abc import Callable
from typing import Any

from harmony._parser import Parser
from harmony.parsed import ParsedMessage

def parse_rows(
    parser_of: Callable[[bool], Parser], rows: list[Any], first_row: int
) -> list[list[ParsedMessage]]: ...
