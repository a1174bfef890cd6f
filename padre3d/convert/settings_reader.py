"""Reading a foreign config so that no setting goes unnoticed.

Every setting is read, compared with the only value that is supported, or passed over by name. What
is left when the reading ends is not supported, and the error lists all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REQUIRED = object()


class Settings:
    """One mapping of a config, at a path such as ``MODEL.VFE``.

    Args:
        values: the mapping.
        path: how errors name it; empty for the whole config.
        problems: list that collects what is not supported, shared by all parts of a config.
    """

    def __init__(self, values: Any, path: str = "", problems: list[str] | None = None) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{path or 'config'}: expected settings by name, got {values!r}")
        self.values, self.path = dict(values), path
        self.problems: list[str] = [] if problems is None else problems
        self._left = set(self.values)

    def name(self, key: str) -> str:
        """Full name of a setting."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """Value of a setting; ValueError if it is missing and there is no default."""
        self._left.discard(key)
        if key in self.values:
            return self.values[key]
        if default is _REQUIRED:
            raise ValueError(f"{self.name(key)}: expected this setting, got none")
        return default

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """A list of numbers, of a given length if one is given."""
        value = self.take(key)
        good = isinstance(value, (list, tuple)) and all(_is_number(v) for v in value)
        if not good or (count is not None and len(value) != count):
            wanted = "numbers" if count is None else f"{count} numbers"
            raise ValueError(f"{self.name(key)}: expected a list of {wanted}, got {value!r}")
        return list(value)

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A single number."""
        value = self.take(key, default)
        if not _is_number(value):
            raise ValueError(f"{self.name(key)}: expected a number, got {value!r}")
        return value

    def whole(self, key: str, least: int, default: Any = _REQUIRED) -> int:
        """A whole number of at least ``least``."""
        value = self.take(key, default)
        if not is_whole(value) or value < least:
            raise ValueError(
                f"{self.name(key)}: expected a whole number of at least {least}, got {value!r}"
            )
        return int(value)

    def probability(self, key: str) -> float:
        """A probability below 1; 0 if there is none."""
        value = self.number(key, 0.0)
        if not 0 <= value < 1:
            raise ValueError(f"{self.name(key)}: expected a probability below 1, got {value!r}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or False."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise ValueError(f"{self.name(key)}: expected true or false, got {value!r}")
        return value

    def part(self, key: str) -> Settings:
        """The mapping under a key."""
        return Settings(self.take(key), self.name(key), self.problems)

    def only(self, key: str, *supported: Any, optional: bool = True) -> None:
        """A setting with a fixed meaning here: anything but a supported value is a problem."""
        if optional and key not in self.values:
            return
        value = self.take(key)
        if not any(_same(value, one) for one in supported):
            wanted = " or ".join(map(repr, supported))
            self.problem(key, f"only {wanted} is supported, got {value!r}")

    def ignore(self, *keys: str) -> list[str]:
        """Pass over settings without influence on the model; those that are there."""
        self._left.difference_update(keys)
        return [self.name(key) for key in keys if key in self.values]

    def unread(self, notes: list[str], **expected: Any) -> None:
        """Settings that the reference does not read: noted where they are not as expected."""
        for key, usual in expected.items():
            value = self.take(key, usual)
            if not _same(value, usual):
                notes.append(f"{self.name(key)}: {value!r} has no influence in the reference")

    def problem(self, key: str, message: str) -> None:
        """Note that a setting is not supported."""
        self.problems.append(f"{self.name(key)}: {message}")

    def finish(self) -> None:
        """Note every setting that nobody has asked for."""
        for key in self.values:
            if key in self._left:
                self.problem(str(key), f"not supported (value {self.values[key]!r})")


def is_whole(value: Any) -> bool:
    """Whether a value is a number without a fraction."""
    return _is_number(value) and value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(value: Any, other: Any) -> bool:
    """Equal, with tuples as lists and without 1 == True."""
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(_same, value, other))
    return isinstance(value, bool) == isinstance(other, bool) and value == other
