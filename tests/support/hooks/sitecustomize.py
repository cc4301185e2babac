"""Put a module of the tests' in the way of a process of headrace. Python imports this file at the start of each process that
has its folder on `PYTHONPATH`; the product knows nothing of it.

`PYTHON_TEST_HOOK` names the module (`hooked.py` sets both: every role gets variables that begin so). It is imported, and its
`install(module)` called, right after one of `PLACES` was imported, so a process that imports none of them stays as it is.
A hook that is not for all of them names its own in `PLACES`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from typing import Any

WORKER = "headrace_worker.celery_app"
PLACES = (WORKER, "headrace_api.app", "headrace.broker.flower", "headrace.cli.version")


class HookLoader(importlib.abc.Loader):
    """The loader of a place, with the hook behind it."""

    def __init__(self, loader: Any, hook: str):
        self._loader = loader
        self._hook = hook

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        hook = importlib.import_module(self._hook)
        if module.__name__ in getattr(hook, "PLACES", (WORKER,)):
            hook.install(module)


class HookFinder(importlib.abc.MetaPathFinder):
    """Finds the places with the usual finders, and gives them a loader with the hook."""

    def __init__(self, hook: str):
        self._hook = hook

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname not in PLACES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                spec.loader = HookLoader(spec.loader, self._hook)
                return spec
        return None


if os.environ.get("PYTHON_TEST_HOOK"):
    sys.meta_path.insert(0, HookFinder(os.environ["PYTHON_TEST_HOOK"]))
