"""What the server process knows of a model that the shared workers run, and the states of its life.

                    ┌───────── asked for again, 10 s later ─────────┐
                    ▼                                               │
    ABSENT ─────▶ LOADING ─────── does not load, or hangs ──────▶ FAILED
      ▲  asked for  │  │ ▲                                          │
      │             │  │ └─ answered ── TRIAL ◀── after a pause ─┐  │
      │             │  │                  └─ did not ─┐          │  │
      │             │  │                              ▼          │  │
      │             │  └── died too often ────────▶ DISABLED ────┴──┤
      │      loaded │                                 ▲             │
      │             ▼                                 │             │
      │           READY ────── died too often ────────┘             │
      └──────────────────────── its folder changed ─────────────────┘

A model that runs elsewhere is UNREACHABLE, from LOADING or READY, while no server answers that runs it; its worker goes
on asking, and it is READY when one does. A READY model whose folder changes stays READY: the former version serves
until the new one is loaded. One that no worker has any more, because none could load it again, becomes FAILED.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from imageserver.inference.server.batching import Waiting
from imageserver.inference.server.restart_limit import RestartLimit, TrialPause
from imageserver.inference.shared.elsewhere.cluster import ON_CLUSTER
from imageserver.inference.shared.manifest import Manifest


class ModelState(enum.StrEnum):
    """The state of a shared model, by the word that people read. `ModelCatalogue` changes it."""

    ABSENT = "absent"
    """nobody asked for it yet"""
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DISABLED = "disabled"
    UNREACHABLE = "unreachable"
    """it runs elsewhere, and nobody answers there"""
    TRIAL = "on trial"
    """a worker of its own finds out whether it works again (trial.py)"""


@dataclass(slots=True)
class SharedModel:
    """A model in the catalogue."""

    manifest: Manifest
    waiting: Waiting
    state: ModelState = ModelState.ABSENT
    error: str = ""
    """Why it is failed, disabled or on trial."""
    runtime: str = ""
    replacing: bool = False
    """Its folder changed while it served; until the new version serves, too."""
    decoded_as: tuple[int, int] = (3, 0)
    """The channels, and the pixels of the shortest side, that its pictures are decoded to."""
    restart_limit: RestartLimit = field(default_factory=RestartLimit)
    trial_pause: TrialPause = field(default_factory=TrialPause)
    failed_at: float = 0.0
    warned: set[str] = field(default_factory=set)
    """The warnings that were given since it was to be loaded."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def elsewhere(self) -> bool:
        """Whether it runs on other machines: then no picture is to blame where it does not answer."""
        return self.manifest.runtime.remote is not None or self.runtime.endswith(ON_CLUSTER)

    @property
    def unusable(self) -> bool:
        """Whether it failed or was disabled, and has not come back."""
        return self.state in (ModelState.FAILED, ModelState.DISABLED, ModelState.TRIAL, ModelState.UNREACHABLE)

    @property
    def trouble(self) -> str:
        """Why a failed or disabled model cannot be used."""
        if repr(self.name) in self.error:
            return self.error
        verdict = "does not load" if self.state is ModelState.FAILED else f"is {self.state}"
        return f"the model {self.name!r} {verdict}: {self.error}"
