import numpy
from numpy.typing import NDArray
from typing_extensions import Buffer

def piece_ends(text: Buffer) -> NDArray[numpy.int64]: ...
