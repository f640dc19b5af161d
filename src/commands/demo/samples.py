"""The sample pictures of clients/samples/ that the demo's cameras see."""

from __future__ import annotations

from imageserver import folders

FOLDER = folders.CLIENTS / "samples"
PORTRAIT, CAT, COFFEE, ROCKET = (
    FOLDER / "photos" / f"{name}.jpg" for name in ("astronaut", "chelsea", "coffee", "rocket")
)
PHOTOS = (PORTRAIT, CAT, COFFEE, ROCKET)
DIGITS = tuple(FOLDER / "digits" / f"{digit}.png" for digit in range(10))


def missing() -> str:
    """A sentence on what is not here and what to do about it; "" where all is."""
    lacking = [path.name for path in (*PHOTOS, *DIGITS) if not path.is_file()]
    if not lacking:
        return ""
    names = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
    return (
        f"sample pictures are missing ({names} in {FOLDER}): run it from a whole copy of the repository, or from the "
        "installed wheel; an image of the server alone has none."
    )
