"""Typed records from your own data: a Pydantic model in, objects of that model out.

headrace up --rehearsal &
python examples/extract_reviews.py
"""

from typing import Literal

from pydantic import BaseModel

from headrace import Headrace


class Review(BaseModel):
    summary: str
    verdict: Literal["good", "bad", "mixed"]


TEXTS = ["The kettle boils fast, but the lid is loose.", "Broke after a week. The shop gave the money back."]

with Headrace() as headrace:
    batch = headrace.extract(TEXTS, "Extract from: {text}", model="rehearsal/small", schema=Review)
    for row in batch.results():
        print(row.custom_id, row.value.verdict, row.value.summary)
