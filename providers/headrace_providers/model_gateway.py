"""The model gateway: failover over several deployments of a model, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

import msgspec

from headrace import portal
from headrace.errors import CallError, HeadraceError, InputError
from headrace.text.quoting import quoted
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.registry import Model

FAULTS = frozenset(
    {
        "auth",
        "payment",
        "not_found",
        "rate_limited",
        "provider_unavailable",
        "timeout",
        "connection",
        "provider_error",
        "empty_output",
        "incomplete_stream",
    }
)
"""Failure codes that cause a failover: they are the deployment's own. Any other answer would be the same elsewhere, or is
the caller's fault."""


class ModelRouterError(HeadraceError):
    """No deployment answered. `failures` are `(deployment, provider, error)`, in the order they were tried."""

    def __init__(self, message: str, failures: Sequence[tuple[str, str, CallError]] = ()):
        super().__init__(message)
        self.code = "no_deployment"
        self.failures = list(failures)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A named model. During `time_constraints`, half-open intervals of "HH:MM" in UTC that may cross midnight, it is not
    used."""

    model_name: str
    model: ChatCompletion
    time_constraints: list[tuple[str, str]] = []

    def rests(self, now: time) -> bool:
        return any(within(now, clock(first), clock(last)) for first, last in self.time_constraints)


class ModelGateway:
    """A model behind several deployments, tried in order: `gateway(messages=…)`, `await gateway.acall(messages=…)`, with
    `model_preference` to begin with another one. A stream falls back too, until its first delta.

    `deployments` are `Deployment`s, or dicts of their fields. Raises `InputError` for a list that cannot be used.
    """

    model_type = "chat_completion"

    def __init__(
        self, deployments: Sequence[Deployment | Mapping[str, Any]], *, now: Callable[[], datetime] | None = None
    ):
        if not isinstance(deployments, list | tuple) or not deployments:
            raise InputError("deployments: must be a list of at least one deployment")
        self.deployments = [checked(given, f"deployments/{place}") for place, given in enumerate(deployments)]
        names = [deployment.model_name for deployment in self.deployments]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise InputError(f"deployments: the name {quoted(twice)} is there twice; rename one")
        self._now = now or (lambda: datetime.now(UTC))

    def __call__(self, messages: Any, *, model_preference: str | None = None, **words: Any) -> Any:
        return portal.run(self.acall(messages, model_preference=model_preference, **words))

    async def acall(self, messages: Any, *, model_preference: str | None = None, **words: Any) -> Any:
        """Return the first answer. Its metadata names the deployment. Raises `ModelRouterError` when no deployment answers
        or is available, and at once any error that would be the same everywhere: `InputError`, a refused request, a
        refusal."""
        failures: list[tuple[str, str, CallError]] = []
        for deployment in self.candidates(model_preference):
            try:
                answer = await deployment.model.acall(messages, **words)
            except CallError as error:
                if error.code not in FAULTS:
                    raise
                failures.append((deployment.model_name, deployment.model.facts.name, error))
                continue
            answer.metadata["deployment"] = deployment.model_name
            return answer
        if not failures:
            raise ModelRouterError("no model available due to time constraints")
        told = "; ".join(f"{name} ({provider}): {error.code}: {error}" for name, provider, error in failures)
        raise ModelRouterError(f"no deployment answered: {told}", failures)

    def candidates(self, preference: str | None = None) -> list[Deployment]:
        """Return the available deployments, the preferred one first. Raises `InputError` for an unknown one."""
        names = [deployment.model_name for deployment in self.deployments]
        if preference is not None and preference not in names:
            raise InputError(f"model_preference={quoted(preference)}: the deployments are {', '.join(names)}")
        now = self._now().astimezone(UTC).time()
        free = [deployment for deployment in self.deployments if not deployment.rests(now)]
        return sorted(free, key=lambda deployment: deployment.model_name != preference)

    def get_model_info(self) -> list[dict[str, str]]:
        return [{"model_name": each.model_name} | each.model.get_model_info() for each in self.deployments]

    def serialize(self) -> dict[str, Any]:
        """Return its configuration as plain JSON, without keys; `from_config` is the inverse."""
        return {
            "model_type": "model_gateway",
            "models": [
                {
                    "model_name": each.model_name,
                    "model": each.model.serialize(),
                    "time_constraints": [list(pair) for pair in each.time_constraints],
                }
                for each in self.deployments
            ],
        }

    @staticmethod
    def from_config(config: Mapping[str, Any], **words: Any) -> ModelGateway:
        """Return what `serialize()` described; keys come from the environment, or from `words` for all. Raises `InputError`."""
        if config.get("model_type") != "model_gateway" or not isinstance(config.get("models"), list):
            raise InputError("this is no configuration of a gateway")
        return ModelGateway([{**each, "model": Model.from_config(each["model"], **words)} for each in config["models"]])


def checked(deployment: Any, place: str) -> Deployment:
    given = msgspec.structs.asdict(deployment) if isinstance(deployment, Deployment) else deployment
    if not isinstance(given, Mapping):
        raise InputError(f"{place}: must be a Deployment, or a dict with model_name and model")
    unknown = given.keys() - {"model_name", "model", "time_constraints"}
    if unknown:
        raise InputError(f"{place}: {', '.join(sorted(unknown))} is not known")
    name, model = given.get("model_name"), given.get("model")
    if not isinstance(name, str) or not name:
        raise InputError(f"{place}/model_name: must be a text that is not empty")
    if not isinstance(model, ChatCompletion):
        raise InputError(f"{place}/model: must be a chat-completion model, not {type(model).__name__}")
    pairs: list[tuple[str, str]] = []
    listed: list[Any] = list(given.get("time_constraints") or ())
    for index, pair in enumerate(listed):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f'{place}/time_constraints/{index}: must be a pair like ("22:00", "06:00")')
        for moment in pair:
            clock(moment, f"{place}/time_constraints/{index}")
        pairs.append((pair[0], pair[1]))
    return Deployment(model_name=name, model=model, time_constraints=pairs)


def clock(moment: Any, place: str = "time") -> time:
    try:
        return datetime.strptime(moment, "%H:%M").time()  # noqa: DTZ007 (a time of day, not a moment)
    except (TypeError, ValueError):
        raise InputError(f'{place}: {quoted(moment)} is no time of day like "22:00"') from None


def within(now: time, first: time, last: time) -> bool:
    """Return True if `now` is in the half-open interval; one from a moment to itself is the whole day."""
    if first < last:
        return first <= now < last
    return now >= first or now < last
