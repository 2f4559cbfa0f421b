"""Every method that our programs serve or call, declared once: its name, its parameters, its result, who may call it.

    from damocles import methods

    service.add(methods.worker.resume, self.resume)
    resumed = client.call(methods.worker.resume(3, "PC1"))

A module for each subject; `declaring` explains a declaration, `rules` has who may call what.
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from damocles.methods import access, alerts, chain, claims, fleet, proven, records, sealer, util, wdpost, worker
from damocles.methods.declaring import OURS, Ask, Method

__all__ = [
    "ALL",
    "BY_SUBJECT",
    "OURS",
    "Ask",
    "Method",
    "access",
    "alerts",
    "chain",
    "claims",
    "fleet",
    "proven",
    "records",
    "sealer",
    "util",
    "wdpost",
    "worker",
]

_SUBJECTS = (access, alerts, chain, claims, fleet, proven, records, sealer, util, wdpost, worker)

# By subject, in the order in which they are declared.
BY_SUBJECT: Mapping[ModuleType, tuple[Method[..., Any], ...]] = MappingProxyType(
    {subject: tuple(one for one in vars(subject).values() if isinstance(one, Method)) for subject in _SUBJECTS}
)

# By wire name.
ALL: Mapping[str, Method[..., Any]] = MappingProxyType(
    {method.name: method for subject in BY_SUBJECT.values() for method in subject}
)
