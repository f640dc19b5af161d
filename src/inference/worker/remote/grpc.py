"""Asks an endpoint over gRPC, by the library grpcio: an extra, imported where a manifest names such an endpoint."""

from __future__ import annotations

import importlib
import os
from typing import Any

from imageserver.errors import EndpointFailed, EndpointRefused, ModelError
from imageserver.inference.shared.elsewhere.open_inference import Address, Remote
from imageserver.inference.worker.remote import proto
from imageserver.inference.worker.remote.messages import Answer, ModelForm, Question
from imageserver.inference.worker.remote.transport import left

REFUSED = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION")
BROKEN = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
"""The model failed on this input, as 500 says over HTTP."""
TOO_LARGE = ("larger than max", "exceeds maximum size", "exceeds the maximum")
"""In the words of a server that takes no message of this size, as 413 says over HTTP."""
LOGIN = ("UNAUTHENTICATED", "PERMISSION_DENIED")
INSTALL = "pip install 'imageserver[remote]'; make run REMOTE=1"


class GrpcTransport:
    """A `Transport`; the arguments are those of HttpTransport. ModelError: grpcio is not installed."""

    def __init__(self, remote: Remote, address: Address, login: str, answer_bytes: int) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what an endpoint does is told in sentences
        try:
            self._grpc: Any = importlib.import_module("grpc")
            proto.types()
        except ModuleNotFoundError as error:
            raise ModelError(f"an endpoint over gRPC needs the package {error.name}: {INSTALL}") from None
        self._remote, self._most = remote, answer_bytes
        self._metadata = (("authorization", login),) if login else ()
        host = f"[{address.host}]" if ":" in address.host else address.host
        options = [
            ("grpc.max_receive_message_length", answer_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.max_metadata_size", 2**16),
            ("grpc.initial_reconnect_backoff_ms", 500),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        target = f"dns:///{host}:{address.port}"
        if address.encrypted:
            roots = None if remote.ca_file is None else remote.ca_file.read_bytes()
            self._channel = self._grpc.secure_channel(target, self._grpc.ssl_channel_credentials(roots), options)
        else:
            self._channel = self._grpc.insecure_channel(target, options)
        self._calls: dict[str, Any] = {}

    def form(self, deadline: float) -> ModelForm:
        request = self._named("ModelMetadataRequest")
        found: ModelForm = self._read(proto.model_form, "ModelMetadata", request, deadline)
        return found

    def ready(self, deadline: float) -> None:
        if not self._read(proto.said_ready, "ModelReady", self._named("ModelReadyRequest"), deadline):
            raise EndpointFailed("says that the model is not ready")

    def infer(self, question: Question, deadline: float) -> Answer:
        request = proto.request(question, self._remote.model, self._remote.version)
        found: Answer = self._read(proto.answer, "ModelInfer", request, deadline)
        return found

    def close(self) -> None:
        self._channel.close()

    def _named(self, message: str) -> bytes:
        return proto.named(message, self._remote.model, self._remote.version)

    def _read(self, read: Any, method: str, request: bytes, deadline: float) -> Any:
        if method not in self._calls:  # without serializers: bytes go out and come in
            self._calls[method] = self._channel.unary_unary(f"/{proto.SERVICE}/{method}")
        try:
            data = self._calls[method](request, timeout=left(deadline), metadata=self._metadata)
        except self._grpc.RpcError as error:
            raise _meaning(error, self._most, infers=method == "ModelInfer") from None
        try:
            return read(data)
        except ValueError as error:
            raise EndpointFailed(f"gives an answer that {error}") from None


def _meaning(error: Any, most: int, *, infers: bool) -> ModelError:
    code, details = error.code().name, " ".join((error.details() or "").split())[:200]
    said = f"{code}: {details}"
    if code == "RESOURCE_EXHAUSTED" and any(words in details for words in TOO_LARGE):
        if _ours(details, most):
            return EndpointFailed(f"answers with more than {most} bytes (--remote-answer-bytes)")
        if infers:
            return EndpointRefused(f"answers {said}", broken=False)
    if infers and code in (*REFUSED, *BROKEN):
        return EndpointRefused(f"answers {said}", broken=code in BROKEN)
    if code == "DEADLINE_EXCEEDED":
        return EndpointFailed("did not answer in time")
    if code in LOGIN:
        return EndpointFailed(f"refuses the login ({said}): see user and password_file, or token_file")
    if code == "NOT_FOUND":
        return EndpointFailed(f"does not have the model ({said})")
    return EndpointFailed(f"cannot be reached ({said})" if code == "UNAVAILABLE" else f"answers {said}")


def _ours(details: str, most: int) -> bool:
    """Whether the limit is the one of answers here, which grpcio tells by the same code: of old without "CLIENT"."""
    own = "SERVER:" not in details and "Received message" in details and f"vs. {most})" in details
    return own or "CLIENT:" in details
