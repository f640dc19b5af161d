"""A tensor that a network takes or gives, as its file describes it."""

from __future__ import annotations

from dataclasses import dataclass

ANY = -1


@dataclass(frozen=True, slots=True)
class Tensor:
    """Name, sides and type; `shape` has `ANY` where the file leaves a side open."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        sides = ", ".join("?" if side == ANY else str(side) for side in self.shape)
        return f"{self.name} ({sides})"
