"""``padre3d`` and ``python -m padre3d``: says what to install where something is missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command."""
    try:
        from padre3d.command.main import main as run
    except ImportError as error:
        sys.exit(f"error: {error}: pip install 'padre3d[runtime]'")
    run()


if __name__ == "__main__":
    main()
