"""What a model found, drawn into its picture: boxes, labels, scores. `cv2` is given, since not every process has it."""

from __future__ import annotations

from typing import Any

SMALLEST = 320
"""Pixels of the longer side of a picture that is drawn into; smaller ones are enlarged, for the letters' sake."""
GREEN, WHITE, BLACK = (80, 220, 80), (255, 255, 255), (0, 0, 0)

MOST_BOXES = 500
"""That are drawn; nobody could tell more of them apart."""
MOST_POINTS = 2000
"""Keypoints of all boxes together."""


def shown_size(height: int, width: int, largest: int) -> tuple[int, int]:
    """Height and width at which a picture is shown whose longer side may have `largest` pixels."""
    longer = max(height, width)
    scale = min(largest, max(SMALLEST, longer)) / longer
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(cv2: Any, pixels: Any, largest: int) -> Any:
    """The picture at that size."""
    before = pixels.shape[:2]
    height, width = shown_size(before[0], before[1], largest)
    if (height, width) == before:
        return pixels
    smaller = width < before[1]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def mark(cv2: Any, pixels: Any, prediction: dict[str, Any], across: int) -> None:
    """Draw boxes with their keypoints, and label and score, into the picture.

    Args:
        cv2: OpenCV.
        pixels: uint8 BGR (height, width, 3), upright.
        prediction: What was found; boxes that lack a number are left out.
        across: The width in pixels that the picture has in the prediction.
    """
    scale = pixels.shape[1] / across
    boxes, points = prediction.get("boxes"), MOST_POINTS
    for box in boxes[:MOST_BOXES] if isinstance(boxes, list) else ():
        try:
            left, top = round(box["x"] * scale), round(box["y"] * scale)
            right, bottom = round((box["x"] + box["width"]) * scale), round((box["y"] + box["height"]) * scale)
            cv2.rectangle(pixels, (left, top), (right, bottom), GREEN, 2)
        except (ArithmeticError, LookupError, TypeError, ValueError, cv2.error):
            continue  # a model's own code says what it likes
        points = _dot(cv2, pixels, box.get("keypoints"), scale, points)
        write(cv2, pixels, _scored(box), (left, max(12, top - 6)))
    if prediction.get("label") is not None:
        text = f"{prediction.get('model', '')}: {_scored(prediction)}"
        text += ", unlike its training pictures" if prediction.get("input") == "unlike" else ""
        write(cv2, pixels, text, (6, pixels.shape[0] - 8))


def _dot(cv2: Any, pixels: Any, keypoints: Any, scale: float, most: int) -> int:
    """Draw keypoints, `[x, y, …]` each, and return how many more may be."""
    for point in keypoints[:most] if isinstance(keypoints, list) else ():
        most -= 1
        try:
            cv2.circle(pixels, (round(point[0] * scale), round(point[1] * scale)), 3, GREEN, -1)
        except (ArithmeticError, LookupError, TypeError, ValueError, cv2.error):
            continue
    return most


def write(cv2: Any, pixels: Any, text: str, at: tuple[int, int]) -> None:
    """Text that can be read on any ground. OpenCV's font has ASCII only."""
    plain = text[:200].encode("ascii", "replace").decode()
    cv2.putText(pixels, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 3, cv2.LINE_AA)
    cv2.putText(pixels, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, WHITE, 1, cv2.LINE_AA)


def _scored(found: dict[str, Any]) -> str:
    """`face 0.97`."""
    score = found.get("score")
    return f"{found.get('label', '')} {score:.2f}" if isinstance(score, int | float) else str(found.get("label", ""))
