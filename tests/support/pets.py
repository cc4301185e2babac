"""A Pydantic model with what schemas have: nested unions, optional maps, dates, limits."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Name = Annotated[str, Field(pattern="^[A-Za-z]{1,12}$")]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool
    tricks: Annotated[dict[Name, Annotated[int, Field(ge=0, le=99)]], Field(max_length=2)] | None = None


class Visit(BaseModel):
    day: date
    cost: Annotated[int, Field(ge=0, le=999)] | None = None


class Owner(BaseModel):
    """Whose animals they are."""

    name: Name
    born: date | None = None
    pets: Annotated[list[Annotated[Cat | Dog, Field(discriminator="kind")]], Field(max_length=3)] = []
    favourite: Cat | Dog | None = None
    visits: Annotated[dict[Name, Visit], Field(max_length=2)] | None = None
