"""From a model's folder to a model that is warm. Runs in a worker, and in the commands prepare and add_model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver.errors import ManifestError, ModelError, Unreachable
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import weights
from imageserver.inference.shared.elsewhere import open_inference
from imageserver.inference.shared.elsewhere.open_inference import Address
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.outputs.input_check import InputCheck
from imageserver.inference.worker.backends.ensemble import Ensemble
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.model_api import StatefulModel, load_code
from imageserver.inference.worker.outputs import input_check
from imageserver.inference.worker.predictor import Backend, Batches, Code, Network, Serving

if TYPE_CHECKING:
    from imageserver.inference.worker.remote.endpoints import Endpoints
    from imageserver.inference.worker.remote.grpc import GrpcTransport
    from imageserver.inference.worker.remote.http import HttpTransport


def load(folder: Path, context: LoadContext) -> Serving:
    """Read the manifest, check the weights, load and warm up.

    ManifestError, ModelError: a sentence for the operator. Whatever else a model's own code raises while it
    warms up becomes a ModelError.
    """
    manifest = manifests.read(folder)
    if manifest.stateful:
        raise ModelError(f"the model {manifest.name!r} keeps state from frame to frame, so it runs in sessions only")
    serving: Serving
    if manifest.members:
        serving = _ensemble(manifest, context)
    elif manifest.runtime.remote is not None:
        return elsewhere(manifest, context)[0]
    elif manifest.runtime.runtime == "python":
        serving = Code(manifest, _model_object(manifest, ("predict",)), context)
    else:
        serving = _network(manifest, context)
    _warm(serving)
    return serving


def elsewhere(manifest: Manifest, context: LoadContext) -> tuple[Serving, Endpoints]:
    """A model that another server runs, once that has answered, and where it is asked. ModelError, Unreachable."""
    from imageserver.inference.worker.remote import login
    from imageserver.inference.worker.remote.endpoints import Endpoints
    from imageserver.inference.worker.remote.serving import Pictures, RemoteBackend

    remote = manifest.runtime.remote
    assert remote is not None
    header, most = login.header(remote), context.remote.answer_bytes
    asked = [(str(address), _transport(address)(remote, address, header, most)) for address in remote.addresses]
    endpoints = Endpoints(manifest, asked, context.remote, context.note)
    serving: Serving
    try:
        agreement = endpoints.negotiate()
        if remote.send == open_inference.PICTURE:
            serving = Pictures(manifest, endpoints, agreement, context)
        else:
            serving = _reader(manifest)(manifest, RemoteBackend(endpoints, agreement), context)
        _warm(serving, [1])
    except BaseException:
        endpoints.close()
        raise
    if header and any(login.goes_open(address) for address in remote.addresses):
        serving.warnings = ["its login goes over the network unencrypted: https:// or grpcs:// would not"]
    return serving, endpoints


def _transport(address: Address) -> type[HttpTransport | GrpcTransport]:
    """What asks such an endpoint; imported where it is needed."""
    if address.grpc:
        from imageserver.inference.worker.remote.grpc import GrpcTransport

        return GrpcTransport
    from imageserver.inference.worker.remote.http import HttpTransport

    return HttpTransport


def stateful(manifest: Manifest) -> StatefulModel:
    """A new object of a stateful model's class. ModelError."""
    model: StatefulModel = _model_object(manifest, ("start", "forward_single_frame", "end"))
    return model


def _model_object(manifest: Manifest, methods: tuple[str, ...]) -> Any:
    """A new object of the class Model in model.py, which has the methods. ModelError."""
    if manifest.runtime.weights is not None:
        weights.check(manifest)
    model_class = getattr(load_code(manifest), "Model", None)
    if not callable(model_class) or not all(hasattr(model_class, name) for name in methods):
        raise ModelError(
            f"{manifests.CODE} of the model {manifest.name!r} has no class Model with {', '.join(methods)}"
        )
    try:
        return model_class(manifest.folder, manifest)
    except Exception as error:
        raise ModelError(f"the model {manifest.name!r} does not start: {type(error).__name__}: {error}") from error


def _warm(serving: Serving, sizes: list[int] | None = None) -> None:
    try:
        serving.warm(sizes)
    except Unreachable:
        raise
    except ModelError as error:
        raise ModelError(f"the model {serving.manifest.name!r} does not fit its manifest: {error}") from error
    except Exception as error:
        raise ModelError(
            f"the model {serving.manifest.name!r} fails on a blank picture: {type(error).__name__}: {error}"
        ) from error


def _ensemble(manifest: Manifest, context: LoadContext) -> Serving:
    """Its members from the folders beside its own. One that does not load leaves the others serving, with a warning."""
    members, warnings = [], []
    for name in manifest.members:
        try:
            member = _member(manifest, manifests.read(manifest.folder.parent / name), context)
            _warm(member)
            members.append(member)
        except (ManifestError, ModelError) as error:
            warnings.append(f"serves without its member {name!r}: {error}")
    if not members:
        raise ModelError(f"no member of the ensemble {manifest.name!r} loads; the last: {warnings[-1]}")
    serving = Ensemble(manifest, members, context)
    serving.warnings = warnings
    return serving


def _member(ensemble: Manifest, manifest: Manifest, context: LoadContext) -> Network:
    if manifest.members or manifest.stateful or manifest.runtime.runtime == "python" or manifest.runtime.remote:
        raise ModelError(f"the model {manifest.name!r} is no network of its own")
    if sorted(manifest.output.labels) != sorted(ensemble.output.labels):
        raise ModelError(
            f"the model {manifest.name!r} has the labels {list(manifest.output.labels)}, not those of the ensemble"
        )
    network = _network(manifest, context)
    if not isinstance(network, Network):
        raise ModelError(f"the model {manifest.name!r} gives no scores of labels, but is of the kind {manifest.kind!r}")
    return network


def _network(manifest: Manifest, context: LoadContext) -> Batches:
    digest = weights.check(manifest)
    warnings: list[str] = []
    backend: Backend
    if manifest.runtime.runtime == "tensorflow":
        from imageserver.inference.worker.backends.tensorflow import TensorFlow

        backend = TensorFlow(manifest, context.threads)
    else:
        from imageserver.inference.worker.backends import openvino

        backend = openvino.load(manifest, digest, context, warnings)
    serving = _reader(manifest)(manifest, backend, context)
    serving.warnings = warnings
    if isinstance(serving, Network) and manifest.input_check is not None:
        _watch_input(serving, manifest.input_check)
    return serving


def _watch_input(network: Network, check: InputCheck) -> None:
    """Have it say which pictures are unlike those of its training; a warning where it cannot. ModelError."""
    wanted, count = network.manifest.input, network.backend.features
    if not count:
        names = ", ".join(check.features)
        network.warnings.append(f"its input is not checked: {network.runtime} gives no features {names} of it")
        return
    distance = input_check.read(network.manifest, count)
    probe = input_check.probe(wanted.height, wanted.width, wanted.channels)
    if distance.fits(network.features([probe])[0]):
        network.distance = distance
    else:
        name = check.file.name
        network.warnings.append(f"its input is not checked: {name} was fitted to other weights, or to another network")


def _reader(manifest: Manifest) -> type[Batches]:
    """What reads the outputs of such a network; imported where it is needed."""
    if manifest.output.detection is not None:
        from imageserver.inference.worker.outputs.detector import Detector

        return Detector
    if manifest.kind in ("embedding", "regression"):
        from imageserver.inference.worker.outputs.vectors import Embedding, Regression

        return Embedding if manifest.kind == "embedding" else Regression
    return Network
