"""The items of a message `run` to its results: pictures together as a batch, inference requests one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imageserver.errors import BodyError, OutOfTime, PictureError
from imageserver.inference.shared import request_bodies, wire
from imageserver.inference.worker import tensors
from imageserver.inference.worker.decode import Picture
from imageserver.inference.worker.predictor import PictureJob, Serving


def run(serving: Serving, slot: memoryview, items: Sequence[wire.Item]) -> wire.Message:
    """The rest of the message `done`: a result for each item, in order; finished answers are written into `slot`.

    Never raises on account of an item.
    """
    results: list[wire.Result | None] = [None] * len(items)
    jobs: dict[int, PictureJob] = {}
    for index, item in enumerate(items):
        data = slot[item["at"] : item["at"] + item["size"]]
        if not item["form"].startswith(wire.CONTENT_INFERENCE):
            try:
                jobs[index] = _job(item, data)
            except BodyError as error:
                results[index] = {"error": str(error), "reason": "body"}
            except PictureError as error:
                results[index] = {"error": str(error), "reason": "picture"}
    for index, result in zip(jobs, serving.run(list(jobs.values())) if jobs else [], strict=True):
        results[index] = result
    # Inference requests are batches of their own making. Their answers may lie where pictures were: those have run.
    answers: list[tuple[int, bytes, int]] = []
    for index, item in enumerate(items):
        if results[index] is None:
            _content, _, head = item["form"].partition(";")
            try:
                done = tensors.infer(serving, slot[item["at"] : item["at"] + item["size"]], int(head or 0))
            except OutOfTime:
                if not index:  # nobody in this batch has an answer: it is tried elsewhere as a whole
                    raise
                done = serving.late()
            if isinstance(done, tuple):
                answers.append((index, *done))
            else:
                results[index] = done
    at = 0
    for index, answer, head_size in answers:
        if at + len(answer) > len(slot):
            results[index] = {
                "error": f"the answer would have {len(answer)} bytes; ask for fewer pictures at once",
                "reason": "body",
            }
            continue
        slot[at : at + len(answer)] = answer
        results[index] = {"answer": {"at": at, "size": len(answer), "head": head_size}}
        at += len(answer)
    outcome = _outcome([result for result in results if result is not None], jobs)
    if len(jobs) < len(items):
        outcome["costs"] = outcome.get("costs", []) + _costs_of_json(items)
    return outcome


def _costs_of_json(items: Sequence[wire.Item]) -> list[tuple[int, int]]:
    costs = []
    for index, item in enumerate(items):
        cost = wire.json_size(item["form"], item["size"]) * wire.JSON_COST
        if cost >= wire.NOTABLE_COST:
            costs.append((index, cost))
    return costs


def _outcome(results: list[wire.Result], jobs: dict[int, PictureJob]) -> wire.Message:
    outcome: wire.Message = {"results": results}
    aside = [(index, job.cost) for index, job in jobs.items() if job.cost]
    if aside:
        outcome["aside"] = aside
    costs = [
        (index, job.picture.cost)
        for index, job in jobs.items()
        if job.picture is not None and job.picture.cost >= wire.NOTABLE_COST
    ]
    if costs:
        outcome["costs"] = costs
    hits = [(index, job.limit) for index, job in jobs.items() if job.limit]
    if hits:
        outcome["limits"] = hits
    return outcome


def _job(item: wire.Item, data: memoryview) -> PictureJob:
    """BodyError, PictureError."""
    if not item["form"].startswith(wire.CONTENT_PIXELS):
        return PictureJob(memoryview(request_bodies.picture(item["form"], data)), item["rotate"])
    shape, size, part = wire.pixels_of(item["form"])
    return PictureJob(data, 0, Picture(np.frombuffer(data, np.uint8).reshape(shape), size, part=part))
