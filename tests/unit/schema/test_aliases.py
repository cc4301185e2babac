"""Models whose fields have other names in JSON: asked for, read and written by one."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel, field_serializer
from pydantic.alias_generators import to_camel

from headrace.schema import lower


class Inner(BaseModel):
    x: int = Field(validation_alias="innerX", serialization_alias="out_x")


class Path(BaseModel):
    first: int = Field(validation_alias=AliasPath("data", 0))
    inner: Inner


class Choices(BaseModel):
    name: str = Field(validation_alias=AliasChoices("fullName", "full_name", AliasPath("names", 0)))
    other: str = Field("o", validation_alias=AliasChoices(AliasPath("names", 1), "otherName"))
    inside: list[Inner] = []
    named: dict[str, Inner] = {}
    pair: tuple[Inner, int] | None = None


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    first_name: str
    home_town: Inner | None = None


class ByName(BaseModel):
    model_config = ConfigDict(validate_by_alias=False, validate_by_name=True, alias_generator=to_camel)
    first_name: str


class Written(BaseModel):
    when: int = Field(serialization_alias="writtenWhen")

    @field_serializer("when")
    def as_it_is(self, value: int) -> int:
        return value


class Many(RootModel[list[Camel]]): ...


class Tagged(BaseModel):
    kind: Literal["t"] = Field("t", validation_alias="kindOf", serialization_alias="k")
    name: Annotated[str, Field(alias="theName")]


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = Field(validation_alias="A")


@dataclasses.dataclass
class Data:
    inner: Inner


class Holder(BaseModel):
    data: Data
    tagged: Tagged | Camel


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str
    other: str = msgspec.field(name="Other-Name", default="x")


INNER = Inner(innerX=1)  # pyright: ignore[reportCallIssue]
VALUES: list[tuple[Any, Any, set[str]]] = [
    (Inner, INNER, {"innerX"}),
    (Path, Path.model_validate({"data": [1], "inner": {"innerX": 2}}), {"first", "inner"}),
    (
        Choices,
        Choices.model_validate(
            {"fullName": "n", "inside": [{"innerX": 1}], "named": {"a": {"innerX": 2}}, "pair": [{"innerX": 3}, 4]}
        ),
        {"fullName", "otherName", "inside", "named", "pair"},
    ),
    (Camel, Camel.model_validate({"firstName": "a", "homeTown": {"innerX": 1}}), {"firstName", "homeTown"}),
    (ByName, ByName(first_name="a"), {"first_name"}),
    (Written, Written(when=3), {"when"}),
    (Many, Many.model_validate([{"firstName": "a"}]), set()),
    (Tagged, Tagged.model_validate({"theName": "a"}), {"kindOf", "theName"}),
    (Extra, Extra.model_validate({"A": 1}), {"A"}),
    (
        Holder,
        Holder.model_validate({"data": {"inner": {"innerX": 1}}, "tagged": {"theName": "x"}}),
        {"data", "tagged"},
    ),
    (list[Camel], [Camel.model_validate({"firstName": "a"})], set()),
    (Renamed, Renamed("a", "b"), {"firstName", "Other-Name"}),
]


@pytest.mark.parametrize(("kind", "value", "names"), VALUES)
def test_a_model_is_asked_for_read_and_written_by_one_name(kind: Any, value: Any, names: set[str]) -> None:
    lowered = lower(kind)
    if names:
        assert set(lowered.wire["properties"]) - {"additional_properties"} == names
    answer = msgspec.json.encode(lowered.lift(value))
    assert lowered.restore(answer) == value
    plain = lowered.restore(answer, plain=True)
    lowered.validate(plain)
    lowered.validate(value)
    assert lowered.lift(plain if isinstance(plain, dict | list) else value) == msgspec.json.decode(answer)
