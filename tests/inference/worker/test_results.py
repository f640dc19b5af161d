"""From scores to answers."""

import numpy as np
import pytest

from imageserver.inference.shared.manifest import Output
from imageserver.inference.worker import results
from imageserver.inference.worker.results import Scores


def output(*labels, activation="none", threshold=None):
    return Output(labels=labels, activation=activation, threshold=threshold)


def test_the_best_five_in_order():
    scores = np.array([[0.1, 0.3, 0.05, 0.2, 0.15, 0.12, 0.08]], np.float32)
    [found] = results.classify(Scores(scores, None), output(*"abcdefg"))
    assert [entry["label"] for entry in found["labels"]] == ["b", "d", "e", "f", "a"]
    assert (found["label"], found["score"]) == ("b", 0.3)


def test_equal_scores_keep_the_order_of_labels():
    [found] = results.classify(Scores(np.full((1, 3), 0.25, np.float32), None), output(*"abc"))
    assert [entry["label"] for entry in found["labels"]] == ["a", "b", "c"]


def test_threshold():
    scores = np.array([[0.6, 0.3], [0.2, 0.1]], np.float32)
    first, second = results.classify(Scores(scores, None), output("a", "b", threshold=0.5))
    assert first == {"label": "a", "score": 0.6, "labels": [{"label": "a", "score": 0.6}]}
    assert second == {"label": "none", "score": 0.0, "labels": []}


def test_one_column_is_the_score_of_the_second_of_two_labels():
    first, second = results.classify(Scores(np.array([[0.75], [0.25]], np.float32), None), output("normal", "ill"))
    assert (first["label"], first["score"]) == ("ill", 0.75)
    assert (second["label"], second["score"]) == ("normal", 0.75)


def test_without_labels_classes_have_numbers():
    [found] = results.classify(Scores(np.array([[0.2, 0.8]], np.float32), None), output())
    assert found["label"] == "class 1"


def test_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="3 scores, the manifest 2 labels"):
        results.classify(Scores(np.zeros((1, 3), np.float32), None), output("a", "b"))


def test_a_picture_unlike_those_of_the_training_is_marked_beside_its_label():
    values = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]], np.float32)
    plain, marked, none = results.classify(Scores(values, np.array([False, True, True])), output("a", "b"))
    assert "input" not in plain and "input" not in none
    assert (marked["label"], marked["input"]) == ("b", "unlike")


def test_no_number_is_an_error_of_its_own_picture_only():
    bad, good = results.classify(Scores(np.array([[np.nan, np.nan], [0.0, 1.0]], np.float32), None), output("a", "b"))
    assert bad["reason"] == "model"
    assert good["label"] == "b"


def test_activation():
    logits = np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32)
    assert results.activate(logits, "softmax") == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert results.activate(logits, "sigmoid") == pytest.approx(np.array([[1.0, 1.0], [0.0, 0.5]]))
    assert results.activate(logits, "none") is logits


def test_plain():
    value = {
        "a": np.float32(0.5),
        "b": [np.int64(3), np.bool_(True)],
        4: np.zeros((2, 1)),
        "n": float("nan"),
        "t": (None, "x"),
    }
    assert results.plain(value) == {"a": 0.5, "b": [3, True], "4": [[0.0], [0.0]], "n": None, "t": [None, "x"]}
    with pytest.raises(TypeError, match="holds a set"):
        results.plain({"a": {1}})


def test_boxes_are_mapped_and_cut_at_the_border():
    boxes = [
        {"x": 1, "y": 2, "width": 3, "height": 4, "label": "face", "score": 0.5},
        {"x": -1, "y": -1, "width": 2, "height": 2, "label": "face", "score": 0.4},
        {"x": 50, "y": 0, "width": 2, "height": 2, "label": "face", "score": 0.3},
    ]
    mapped = results.map_boxes(boxes, (5, 10, 3), (0.0, 0.0, 20.0, 10.0), (20, 10))
    assert mapped == [
        {"x": 2, "y": 4, "width": 6, "height": 6, "label": "face", "score": 0.5},
        {"x": 0, "y": 0, "width": 2, "height": 2, "label": "face", "score": 0.4},
    ]
