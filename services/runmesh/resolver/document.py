"""Documents in the `runs` bucket.

While an upgrade rolls, two versions share them: what the other one added is ignored, also in a plan's request.
"""

import zlib
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

_COMPRESS_ABOVE: Final = 2048


class Document(BaseModel):
    """A frozen document in the `runs` bucket, compressed where that pays."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """Return the stored form: JSON without defaults, compressed if it is long."""
        text = self.__pydantic_serializer__.to_json(self, exclude_defaults=True)
        return zlib.compress(text, 1) if len(text) > _COMPRESS_ABOVE else text

    @classmethod
    def decode(cls, stored: bytes) -> Self:
        """Read the stored form. Raises ValueError when it is none."""
        text = stored if stored.startswith(b"{") else zlib.decompress(stored)
        return cls.model_validate_json(text, extra="ignore")
