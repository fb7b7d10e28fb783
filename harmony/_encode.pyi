from typing import Literal, final

CACHES: dict[str, tuple[int, int, bool]]

@final
class Contexts: ...

def use_caches(size: Literal["", "tiny", "off"]) -> None: ...
