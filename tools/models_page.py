"""Fill the tables of docs/models.md from the cards of the packaged models.

    python tools/models_page.py            # after tools/package_model.py or package_precision.py
    python tools/models_page.py --check    # fail if the page is not what the cards say

They stand between ``<!-- models -->`` and ``<!-- end models -->``; all else is written by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from padre3d import models
from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.files import write_atomic
from padre3d.runtime.folder import sha256
from padre3d.runtime.manifest import read_manifest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
START, END = "<!-- models -->\n", "<!-- end models -->"
FIGURES = {
    "nds": "NDS",
    "map": "mAP",
    "mate_m": "mATE, m",
    "mase": "mASE",
    "maoe_rad": "mAOE, rad",
    "mave_mps": "mAVE, m/s",
    "maae": "mAAE",
}
TRAINED = ("model", "config", "parameters", "seed", "steps", "hours", "trained on", "scored on")
PRECISIONS = ("model", "precision", "NDS", "mAP", "scored on", "calibrated on")
FILES = ("model", "file", "kB", "sha256", "licence")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE, help="page to fill (%(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def tables() -> str:
    """What all cards say, as Markdown."""
    cards = {name: models.model_info(name) for name in models.model_names()}
    scores = [(name, *(_figure(card, key) for key in FIGURES)) for name, card in cards.items()]
    trained = [
        (name, *(_cell(card, column.replace(" ", "_")) for column in TRAINED[1:]))
        for name, card in cards.items()
    ]
    others = _other_precisions(cards)
    grounds = [
        (*key, _figure(card, "nds"), _figure(card, "map"), card["scored_on"], card["calibrated_on"])
        for key, card in others.items()
    ]
    files = [row for name, card in cards.items() for row in _files(name, card)]
    said = [f"{_made(f'`{n}`', card)} Not for {card['not_for']}." for n, card in cards.items()]
    said += [_made(f"`{name}` in {how}", card) for (name, how), card in others.items()]
    parts = [
        _table(("model", *FIGURES.values()), scores),
        _table(TRAINED, trained),
        _table(PRECISIONS, grounds),
        _table(FILES, files),
        "\n".join(said),
    ]
    return "\n\n".join(parts) + "\n"


def filled(page: str) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: if it has no place for them.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"page: expected {START.strip()} ... {END}, found none")
    return f"{before}{start}\n{tables()}{end}{after}"


def run(args: argparse.Namespace) -> None:
    """Fill or check the page."""
    page = args.page.read_text()
    new = filled(page)
    if not args.check:
        write_atomic(args.page, new)
    elif new != page:
        raise ValueError(f"{args.page}: expected the tables of the cards; run without --check")


def _other_precisions(names: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Cards by model and precision, of all but the 16 bit beside the weights."""
    return {
        (name, precision): models.folder_info(models.model_folder(name, precision))
        for name in names
        for precision in models.model_precisions(name)[1:]
    }


def _figure(card: dict[str, Any], key: str) -> str:
    value = f"{card[key]:.3f}" if key in card else "-"
    interval = card["intervals_95"].get(key)
    return value if interval is None else f"{value} ({interval[0]:.3f} - {interval[1]:.3f})"


def _cell(card: dict[str, Any], key: str) -> str:
    value = card[key]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _made(what: str, card: dict[str, Any]) -> str:
    return f"- {what}: made by `{card['command']}` at {card['commit'][:7]}."


def _files(name: str, card: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    folder = models.model_folder(name)
    sums = {**card["sha256"], **read_manifest(folder).sha256}
    for precision in models.model_precisions(name)[1:]:
        nested = read_manifest(models.model_folder(name, precision)).sha256
        sums |= {f"{precision}/{file}": expected for file, expected in nested.items()}
    for file, expected in sorted(sums.items()):
        found = sha256(folder / file)
        if found != expected:
            raise ValueError(f"{folder / file}: expected sha256 {expected}, got {found}")
        size = f"{(folder / file).stat().st_size / 1e3:,.0f}"
        yield name, f"`{file}`", size, f"`{found}`", card["licence"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
