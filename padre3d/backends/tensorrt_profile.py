"""TensorRT profiles: the minimum, optimum and maximum inputs an engine is built for."""

from __future__ import annotations

from dataclasses import dataclass

PILLARS, SETS = "pillars", "sets"


@dataclass(frozen=True)
class Profile:
    """Minimum, optimum and maximum pillars (and sets, in set form) of a frame.

    Raises:
        ValueError: unless 0 < min <= opt <= max.
    """

    min: int = 1
    opt: int = 20_000
    max: int = 60_000
    sets: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min <= self.opt <= self.max:
            raise ValueError(
                "profile: expected 0 < min <= opt <= max pillars, got "
                f"{self.min}, {self.opt}, {self.max}"
            )

    @property
    def pillars(self) -> tuple[int, int, int]:
        """The three numbers of pillars."""
        return self.min, self.opt, self.max

    def shapes(self, shape: list[int | str]) -> list[tuple[int, ...]]:
        """The three shapes of an input whose axes may be symbols.

        Raises:
            ValueError: on an unknown symbol, or sets without their numbers.
        """
        values: dict[int | str, tuple[int, int, int] | None] = {
            PILLARS: self.pillars,
            SETS: self.sets,
        }
        unknown = [axis for axis in shape if isinstance(axis, str) and not values.get(axis)]
        if unknown:
            raise ValueError(
                f"profile: expected numbers for the axes {unknown}, got none; "
                "tools/build_engine.py derives those of the sets"
            )
        return [
            tuple(axis if isinstance(axis, int) else (values[axis] or ())[i] for axis in shape)
            for i in range(3)
        ]
