"""Average precision on cases that can be worked out by hand."""

import numpy as np
import pytest

from imageserver.training.shapes.scores import Detections, Truth, average_precision, mean_average_precision, overlaps


def box(x, y=0, side=10):
    return [x, y, x + side, y + side]


def truth(*boxes, labels=None, counted=None):
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    counted = np.ones(len(boxes), bool) if counted is None else np.array(counted)
    return Truth(np.array(boxes, float).reshape(-1, 4), labels, counted)


def found(*boxes, scores, labels=None):
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return Detections(np.array(boxes, float).reshape(-1, 4), labels, np.array(scores, float))


NOTHING = found(scores=[])


def test_overlaps_are_those_of_a_drawing():
    first, second = np.array([box(0), box(100)], float), np.array([box(0), box(5), box(0, 5), box(10)], float)
    assert overlaps(first, second) == pytest.approx(np.array([[1, 1 / 3, 1 / 3, 0], [0, 0, 0, 0]]))


def test_all_found_is_one_and_nothing_found_is_zero():
    truths = [truth(box(0), box(20)), truth(box(40))]
    assert average_precision(truths, [found(box(0), box(20), scores=[0.9, 0.2]), found(box(40), scores=[1])], 0) == 1
    assert average_precision(truths, [NOTHING, NOTHING], 0) == 0


def test_half_found_without_an_error_is_the_recalls_up_to_a_half():
    value = average_precision([truth(box(0), box(20))], [found(box(0), scores=[0.9])], 0)
    assert value == pytest.approx(51 / 101)  # 0, 0.01, … 0.50


def test_a_surer_error_halves_the_precision_and_a_less_sure_one_costs_nothing():
    truths = [truth(box(0))]
    assert average_precision(truths, [found(box(50), box(0), scores=[0.9, 0.5])], 0) == pytest.approx(0.5)
    assert average_precision(truths, [found(box(50), box(0), scores=[0.4, 0.5])], 0) == 1


def test_precision_is_made_monotonic():
    """Right, wrong, right, of three: precision 1, 1/2, 2/3, so 1 up to a third and 2/3 up to two thirds."""
    truths = [truth(box(0), box(20), box(40))]
    value = average_precision(truths, [found(box(0), box(70), box(20), scores=[0.9, 0.8, 0.7])], 0)
    assert value == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)


def test_a_shape_is_found_once():
    truths = [truth(box(0), box(100))]
    twice = [found(box(0), box(1), box(100), scores=[0.9, 0.8, 0.7])]
    assert average_precision(truths, twice, 0) == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_an_overlap_of_one_half_counts_and_less_does_not():
    wide = [0, 0, 20, 10]
    assert average_precision([truth(wide)], [found(box(0), scores=[1])], 0) == 1
    assert average_precision([truth(wide)], [found([0, 0, 9.9, 10], scores=[1])], 0) == 0


def test_the_surest_box_takes_the_shape_that_it_overlaps_most():
    truths = [truth(box(0), box(3))]
    assert average_precision(truths, [found(box(3), box(0), scores=[0.9, 0.8])], 0) == 1


def test_what_does_not_count_may_be_found_and_may_be_missed():
    truths = [truth(box(0), box(20), counted=[True, False])]
    assert average_precision(truths, [found(box(0), scores=[0.5])], 0) == 1
    assert average_precision(truths, [found(box(20), box(0), scores=[0.9, 0.5])], 0) == 1
    assert average_precision(truths, [found(box(50), box(0), scores=[0.9, 0.5])], 0) == pytest.approx(0.5)


def test_classes_are_judged_apart_and_what_there_is_none_of_is_left_out():
    truths = [truth(box(0), box(20), labels=[0, 1])]
    founds = [found(box(0), box(20), labels=[0, 0], scores=[0.9, 0.8])]
    assert average_precision(truths, founds, 0) == 1
    assert average_precision(truths, founds, 1) == 0
    assert np.isnan(average_precision(truths, founds, 2))
    assert mean_average_precision(truths, founds, 3) == 0.5
