"""The models: their manifests, their files, and those that settings name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imageserver.app.checks.finding import Finding, fails, stops
from imageserver.config.table import Settings
from imageserver.errors import ModelError, SettingError
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Registry
from imageserver.inference.shared.slim import tensorflow
from imageserver.inference.shared.weights import digest


def known(settings: Settings) -> dict[str, Manifest]:
    """The models whose manifests are good. SettingError."""
    registry = Registry(settings.models, settings.data / "models")
    registry.scan()
    return registry.manifests


def look(settings: Settings) -> Iterator[Finding]:
    """What is wrong with the folder, with a manifest, with a model that is named; and files that lack."""
    try:
        registry = Registry(settings.models, settings.data / "models")
    except SettingError as error:
        yield stops(str(error))
        return
    registry.scan()
    yield from map(fails, registry.errors.values())
    yield from (stops(sentence) for sentence in wrong_names(settings, registry.manifests))
    needed = _needed(settings, registry.manifests)
    for name, manifest in sorted(registry.manifests.items()):
        for member in manifest.members:
            if member not in registry.manifests:
                yield fails(
                    f"The model {name!r} averages {member!r}, which is not there: add it to {settings.models}, or take "
                    "it out of ensemble.members."
                )
        if lacks_weights(manifest) and (name in needed or not manifest.runtime.weights_hint):
            yield fails(_without_weights(manifest))
        elif lacks_tensorflow(manifest):
            yield fails(f"{tensorflow.lacking(f'The model {name!r}')}.")


def wrong_names(settings: Settings, manifests: Mapping[str, Manifest]) -> list[str]:
    """A sentence for each name of a model in the settings that is none, or one of the other kind."""
    there = f"there are: {', '.join(sorted(manifests))}"
    wanted = dict.fromkeys((settings.model, *settings.preload))
    found = [f"--model and --preload: there is no model {name!r}; {there}" for name in wanted if name not in manifests]
    if settings.model in manifests and manifests[settings.model].stateful:
        found.append(
            f"--model: {settings.model!r} keeps state from frame to frame, so it is for sessions: --session-models"
        )
    for name in dict.fromkeys(settings.session_models):
        if name not in manifests:
            found.append(f"--session-models: there is no model {name!r}; {there}")
        elif not manifests[name].stateful:
            found.append(f"--session-models: the model {name!r} keeps no state from frame to frame; -m takes it")
    return found


def lacks_weights(manifest: Manifest) -> bool:
    """Whether the file that it cannot do without is not there."""
    weights = manifest.runtime.weights
    return weights is not None and not weights.exists()


def lacks_tensorflow(manifest: Manifest) -> bool:
    """Whether it cannot run without TensorFlow, which is not here, and has not been converted before."""
    weights = manifest.runtime.weights
    if tensorflow.is_here() or weights is None or not weights.exists() or not tensorflow.is_needed(manifest):
        return False
    if manifest.runtime.runtime == "tensorflow":
        return True
    try:
        return not conversion_cache.entry_folder(conversion_cache.cache_folder(), manifest, digest(weights)).is_dir()
    except (OSError, ValueError, ModelError):
        return False  # which its load tells


def _needed(settings: Settings, manifests: Mapping[str, Manifest]) -> set[str]:
    """The models that somebody named, with the members of those that are ensembles."""
    named = [name for name in (settings.model, *settings.preload, *settings.session_models) if name in manifests]
    return {*named, *(member for name in named for member in manifests[name].members)}


def _without_weights(manifest: Manifest) -> str:
    assert manifest.runtime.weights is not None
    hint = f" {manifest.runtime.weights_hint}" if manifest.runtime.weights_hint else ""
    return (
        f"The model {manifest.name!r} lacks its weights: put {manifest.runtime.weights.name!r} into "
        f"{manifest.folder}.{hint}"
    )
