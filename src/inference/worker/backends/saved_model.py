"""The folder of a SavedModel, looked at before TensorFlow loads it: its graph may compute, and do nothing else.

A graph has operations that read files, write them, or call Python. TensorFlow runs what it is given, so operations
with side effects are refused but for those in `ALLOWED`, and those without by name, where they read files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRAPH = "saved_model.pb"
MOST_GRAPH_BYTES = 2**28
"""Of the graph alone; weights are files of their own beside it."""

ALLOWED = frozenset(
    """Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp Case CheckNumerics CheckNumericsV2 CudnnRNN
    CudnnRNNV2 CudnnRNNV3 DeviceIndex DisableCopyOnRead Empty GuaranteeConst HashTableV2 If InitializeTableV2
    LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2 Multinomial MutableHashTableV2
    NonDeterministicInts ParameterizedTruncatedNormal RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal
    RandomUniform RandomUniformInt ReadVariableOp ResourceGather ResourceGatherNd RngReadAndSkip RngSkip
    SampleDistortedBoundingBoxV2 StackPopV2 StackPushV2 StackV2 StatefulPartitionedCall StatefulRandomBinomial
    StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt StatefulUniformInt
    StatelessRandomGetAlg TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3
    TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TruncatedNormal
    VarHandleOp VarIsInitializedOp VariableShape While""".split()  # noqa: SIM905 - a long list, read in lines
)
"""Operations with side effects on nothing but the network's own variables, tables and random numbers."""

READING = frozenset(
    """DebugIdentity DebugNanCount DebugNumericSummary DecodeProtoV2 EncodeProto GenerateVocabRemapping ImmutableConst
    InitializeTableFromTextFile MatchingFiles PyFuncStateless ReadFile""".split()  # noqa: SIM905
)
"""Operations that count as free of side effects, and open files or call Python all the same."""

CHECKPOINT = frozenset(("SaveV2", "RestoreV2", "MergeV2Checkpoints"))
"""In the functions that TensorFlow writes beside every model to save and restore it; nothing here calls those."""


def check(folder: Path) -> None:
    """Look at its graph. Imports TensorFlow, for the format.

    Raises:
        ValueError: what is wrong with it, and the remedy.
        OSError: it cannot be read.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    if not (folder / GRAPH).is_file() or any((folder / f"saved_model.{kind}").exists() for kind in ("cpb", "pbtxt")):
        raise ValueError(f"it holds no {GRAPH}, or its graph twice: export it with model.export()")
    if (folder / GRAPH).stat().st_size > MOST_GRAPH_BYTES:
        raise ValueError(f"its {GRAPH} is larger than {MOST_GRAPH_BYTES} bytes")
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((folder / GRAPH).read_bytes())
    except DecodeError as error:
        raise ValueError(f"its {GRAPH} cannot be read: it may be cut short") from error
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].HasField("object_graph_def"):
        raise ValueError("it was made by TensorFlow 1: load it with TensorFlow 2 and export it again")
    _check_graph(model.meta_graphs[0])


def _check_graph(graph: Any) -> None:
    """ValueError for an operation that does more than compute."""
    functions = {function.signature.name: list(function.node_def) for function in graph.graph_def.library.function}
    for node in (*graph.graph_def.node, *(node for nodes in functions.values() for node in nodes)):
        if node.op not in functions and node.op not in CHECKPOINT and not _computes(node.op):
            raise ValueError(f"its graph has the operation {node.op[:100]!r}, which does more than compute: {REMEDY}")
    if reached := _with_checkpoints(functions) & _callable(graph.object_graph_def):
        raise ValueError(f"its function {min(reached)[:100]!r} reads or writes files: {REMEDY}")


REMEDY = "export the network alone, without what prepares its files"


def _computes(name: str) -> bool:
    from tensorflow.python.framework import op_def_registry  # TensorFlow 2.21: the only list of what operations are

    operation = op_def_registry.get(name)
    if operation is None:
        return False
    if operation.is_stateful:
        return name in ALLOWED
    return name not in READING and "Dataset" not in name


def _callable(objects: Any) -> set[str]:
    """Names of the functions that loading or calling the model may run."""
    found = set(objects.concrete_functions)
    for node in objects.nodes:
        found.update(node.function.concrete_functions)
        found.add(node.bare_concrete_function.concrete_function_name)
    return found


def _with_checkpoints(functions: dict[str, list[Any]]) -> set[str]:
    """Names of the functions that read or write checkpoints, or call one that does."""
    calls = {name: {called for node in nodes for called in _called(node)} for name, nodes in functions.items()}
    found = {name for name, called in calls.items() if called & CHECKPOINT}
    while more := {name for name, called in calls.items() if called & found} - found:
        found |= more
    return found


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
