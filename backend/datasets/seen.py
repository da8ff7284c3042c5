"""Which images a sync has met in the listing: one bit an image.

Listings come in the store's own order, so what is gone is found by what was not met rather than by walking
two sorted streams. The bits travel with the operation's row, which lets another worker go on.
"""

from __future__ import annotations

import zlib


class Seen:
    """A set of image ids from `first` to `last`; an eighth of a byte an id, whatever the keys are."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        self._bits = bytearray(max(0, last - first + 1) // 8 + 1)

    def add(self, image_id: int) -> None:
        """Note one id. Ids outside of the range are new since the sync began and need no note."""
        offset = image_id - self.first
        if 0 <= offset <= self.last - self.first:
            self._bits[offset >> 3] |= 1 << (offset & 7)

    def __contains__(self, image_id: int) -> bool:
        offset = image_id - self.first
        return 0 <= offset <= self.last - self.first and bool(self._bits[offset >> 3] & 1 << (offset & 7))

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def dump(self) -> bytes:
        """A compact form; `load` gives the set back."""
        return f"{self.first} {self.last}\n".encode() + zlib.compress(self._bits, 1)

    @classmethod
    def load(cls, data: bytes) -> Seen:
        """The set that `dump` wrote."""
        head, _, bits = data.partition(b"\n")
        first, last = head.split()
        seen = cls(int(first), int(last))
        seen._bits = bytearray(zlib.decompress(bits))
        return seen
