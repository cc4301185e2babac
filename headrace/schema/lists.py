"""The node of a list: items of one schema, or a tuple."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.errors import SchemaError
from headrace.schema.merge import Merged
from headrace.schema.nodes import Items, Node, Plain, Tuple

if TYPE_CHECKING:
    from headrace.schema.lowering import Lowering

MAX_PREFIX = 250
MAX_ITEMS = 1_000_000_000


class Lists:
    """Builds list nodes for one `Lowering`."""

    def __init__(self, lowering: Lowering):
        self.lowering = lowering

    def node(self, merged: Merged) -> Node | None:
        """Return the node of a list; None where no list is valid."""
        # 2.0 is as whole as 2; beyond a billion it is no matter how many.
        words = (word for word in ("minItems", "maxItems") if word in merged.limits)
        sizes = {word: int(min(merged.limits[word], MAX_ITEMS)) for word in words}
        if merged.prefix:
            return self.tuple(merged, sizes)
        item = self.lowering.place(merged.items) if merged.items else self.lowering.untyped(merged, "items")
        if item is None:
            if sizes.get("minItems"):
                return None
            item, sizes = Plain(["null"], {}), {"maxItems": 0}
            item.about, item.pointer = {}, merged.pointer
        return Items(item, sizes)

    def tuple(self, merged: Merged, sizes: dict[str, Any]) -> Node | None:
        """Return the node of a tuple: an object with the properties `item_1` and so on (strict mode has no `prefixItems`)."""
        self.lowering.note(
            merged.pointer, "prefixItems", "moved", "its places travel as the properties item_1, item_2, …"
        )
        if len(merged.prefix) > MAX_PREFIX:
            raise SchemaError(
                f"schema at {merged.pointer or '/'}: a list of {len(merged.prefix)} different places",
                pointer=merged.pointer,
                keyword="prefixItems",
                remedy="describe them by `items`, or name them as properties",
            )
        least, most = sizes.get("minItems", 0), sizes.get("maxItems")
        if not self.lowering.literal and "minItems" not in sizes:
            least = len(merged.prefix)
        nodes: list[Node] = []
        for held in merged.prefix[:most]:
            node = self.lowering.place(held)
            if node is None:
                break
            nodes.append(node)
        if len(nodes) < least and len(nodes) < len(merged.prefix):
            return None
        rest: Items | None = None
        if len(nodes) == len(merged.prefix) and (most is None or most > len(nodes)):
            silent = not merged.items
            node = (
                self.lowering.place(merged.items)
                if merged.items
                else self.lowering.untyped(merged, "items")
                if self.lowering.literal
                else None
            )
            if node is not None and (self.lowering.literal or not silent):
                beyond = {word: max(size - len(nodes), 0) for word, size in sizes.items()}
                rest = Items(node, {word: size for word, size in beyond.items() if size or word == "maxItems"})
                rest.about, rest.pointer = {}, merged.pointer
        made = Tuple(nodes, min(least, len(nodes)), rest)
        made.record.about, made.record.pointer = {}, merged.pointer
        return made
