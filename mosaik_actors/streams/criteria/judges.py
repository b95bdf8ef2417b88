"""Makes functions that judge items out of the terms of criteria, at a bounded cost.

The terms may come from a peer, who pays nothing for them, while each item of a
producer is judged by all of them. So:

    * Equal terms are judged once: within one joint they are one; elsewhere the
      result of the first is kept for the rest of the same item.
    * A path that `SHARED_READS` comparisons name is read once for each item.
    * Joints stop at the first term that decides.
    * `Leaf.cost` says what a comparison costs at most, in plain comparisons (some
      0.15 us). A set of criteria has `COST_MAX`, whatever the items are.
    * ``contains`` looks at the beginning of a text or list only: at `TEXT_MAX` characters,
      which all that are in one set of criteria share equally. Elements of lists count
      `ELEMENT_CHARACTERS` each. ``startswith`` never looks further than
      its own value is long.

What has no equal terms and few comparisons, as honest criteria do, is nothing but
the closures: no clock, no table.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import msgspec

COST_MAX: Final = 320
RAISE_COST: Final = 5
SHARED_READS: Final = 4
TEXT_MAX: Final = 4096
ELEMENT_CHARACTERS: Final = 8
NEEDLE_CHARACTERS: Final = 64  # so many more cost as much as a comparison
VALUE_ELEMENTS: Final = 4  # the same, of elements of a value

JOINTS: Final = ("&", "|")
NEGATION: Final = "~"
ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Node = tuple[Any, ...]
"""``(joint, nodes...)``, ``("~", node)``, or ``(operator, path, value)``."""

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    **ORDER,
    "in": lambda there, values: there in values,
    "startswith": lambda there, beginning: there.startswith(beginning),
}

Judge = Callable[[Any], bool]
Step = tuple[bool, str]

_MISSING: Final = object()


class Leaf:
    """One comparison, resolved against the type of the items.

    Attributes:
        op: The operator.
        path: Which field, as it travels.
        steps: How that is read: whether by key, and the name, for each step.
        value: What it is compared with.
        may_miss: Whether the field may not be there, or be None.
        cost: What it costs at most beyond a plain comparison, but for what is missing.
    """

    __slots__ = ("cost", "may_miss", "op", "path", "steps", "value")

    def __init__(
        self,
        op: str,
        path: tuple[str, ...],
        steps: list[Step],
        value: Any,
        *,
        may_miss: bool,
        may_raise: bool,
    ) -> None:
        self.op = op
        self.path = path
        self.steps = steps
        self.value = value
        self.may_miss = may_miss
        self.cost = RAISE_COST if may_raise else 0
        if op == "contains" and isinstance(value, str | bytes):
            self.cost += len(value) // NEEDLE_CHARACTERS
        elif not isinstance(value, frozenset) or op != "in":
            self.cost += _element_count(value) // VALUE_ELEMENTS


class Terms:
    """What is in a tree of terms: each different one by its key, and how often it is there."""

    def __init__(self, node: Node) -> None:
        self.node_count = 0
        self.counts: dict[bytes, int] = {}
        self.leaves: dict[bytes, Node] = {}
        self._count(node)

    def _count(self, node: Node) -> None:
        key = key_of(node)
        self.node_count += 1
        self.counts[key] = self.counts.get(key, 0) + 1
        if node[0] in JOINTS or node[0] == NEGATION:
            for one in node[1:]:
                self._count(one)
        else:
            self.leaves[key] = node


def key_of(node: Node) -> bytes:
    """Return what equal terms have in common; to Python ``1 == True``, here it is another value."""
    return msgspec.msgpack.encode(node)


def simplified(node: Node) -> Node:
    """Return a tree that means the same: no joint in its like, no term twice in a joint."""
    head = node[0]
    if head == NEGATION:
        inner = simplified(node[1])
        return inner[1] if inner[0] == NEGATION else (NEGATION, inner)
    if head not in JOINTS:
        return node
    terms: dict[bytes, Node] = {}
    for one in map(simplified, node[1:]):
        for term in one[1:] if one[0] == head else (one,):
            terms.setdefault(key_of(term), term)
    return (head, *terms.values()) if len(terms) > 1 else next(iter(terms.values()))


def total_cost(terms: Terms, leaves: dict[bytes, Leaf]) -> int:
    """Return what judging an item costs at most, in plain comparisons."""
    missing: dict[tuple[str, ...], int] = {}
    for leaf in leaves.values():
        if leaf.may_miss:
            missing[leaf.path] = missing.get(leaf.path, 0) + 1
    # A field that is read once fails once.
    failures = sum(1 if count >= SHARED_READS else count for count in missing.values())
    own = sum(leaf.cost for leaf in leaves.values())
    return terms.node_count + own + RAISE_COST * failures


def build(node: Node, terms: Terms, leaves: dict[bytes, Leaf]) -> Judge:
    """Return the function that judges an item by a simplified tree; it does not raise."""
    return _Builder(terms, leaves).whole(node)


class _Builder:
    """Makes the closures of one tree, and what they know of the item at hand."""

    def __init__(self, terms: Terms, leaves: dict[bytes, Leaf]) -> None:
        self._counts = terms.counts
        self._leaves = leaves
        self._results: dict[bytes, bool] = {}
        self._repeated: dict[bytes, Judge] = {}
        by_path: dict[tuple[str, ...], list[Leaf]] = {}
        for leaf in leaves.values():
            by_path.setdefault(leaf.path, []).append(leaf)
        self._fields = {
            path: _Field(_reader(several[0].steps))
            for path, several in by_path.items()
            if len(several) >= SHARED_READS
        }
        contains_count = sum(leaf.op == "contains" for leaf in leaves.values())
        self._text_max = TEXT_MAX // max(1, contains_count)

    def whole(self, node: Node) -> Judge:
        judge = self._made(node)
        if not self._repeated and not self._fields:
            return judge
        results, fields, text_max = self._results, list(self._fields.values()), self._text_max

        def judge_anew(item: Any) -> bool:
            results.clear()  # the item before may be this one, and changed since
            for field in fields:
                try:
                    field.value = field.read(item)
                except Exception:
                    field.value = _MISSING
                if field.is_looked_into:
                    field.beginning = _beginning(field.value, text_max)
            holds = judge(item)
            for field in fields:
                field.value = field.beginning = _MISSING  # nothing of the item is kept alive
            return holds

        return judge_anew

    def _made(self, node: Node) -> Judge:
        key = key_of(node)
        if self._counts[key] == 1:
            return self._fresh(node, key)
        if key not in self._repeated:
            self._repeated[key] = _once(self._fresh(node, key), key, self._results)
        return self._repeated[key]

    def _fresh(self, node: Node, key: bytes) -> Judge:
        head = node[0]
        if head in JOINTS:
            return _all_or_any(head, list(map(self._made, node[1:])))
        if head == NEGATION:
            inner = self._made(node[1])
            return lambda item: not inner(item)
        leaf = self._leaves[key]
        if field := self._fields.get(leaf.path):
            return _leaf_of_field(leaf, field)
        return _leaf(leaf, _reader(leaf.steps), self._text_max)


class _Field:
    """A field that many comparisons name, and what it is in the item at hand.

    Attributes:
        read: What reads it.
        value: All of it.
        is_looked_into: Whether a ``contains`` names it.
        beginning: What those look at.
    """

    __slots__ = ("beginning", "is_looked_into", "read", "value")

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read
        self.value: Any = _MISSING
        self.is_looked_into = False
        self.beginning: Any = _MISSING


def _element_count(value: Any) -> int:
    if not isinstance(value, tuple | list | frozenset):
        return 0
    return len(value) + sum(map(_element_count, value))


def _once(judge: Judge, key: bytes, results: dict[bytes, bool]) -> Judge:
    def judge_once(item: Any) -> bool:
        result = results.get(key)
        if result is None:
            result = results[key] = judge(item)
        return result

    return judge_once


def _reader(steps: list[Step]) -> Callable[[Any], Any]:
    """Return what reads a field of an item; it raises where there is none."""
    if not steps:
        return lambda item: item
    if not any(is_key for is_key, _ in steps):
        return operator.attrgetter(".".join(name for _, name in steps))

    def read(item: Any) -> Any:
        for is_key, name in steps:
            item = item[name] if is_key else getattr(item, name)
        return item

    return read


def _all_or_any(joint: str, tests: list[Judge]) -> Judge:
    if len(tests) == 2:
        one, two = tests
        if joint == "&":
            return lambda item: one(item) and two(item)
        return lambda item: one(item) or two(item)
    # No `all` and `any`: their generator costs as much as two comparisons.
    if joint == "&":

        def holds_all(item: Any) -> bool:
            for test in tests:  # noqa: SIM110
                if not test(item):
                    return False
            return True

        return holds_all

    def holds_any(item: Any) -> bool:
        for test in tests:  # noqa: SIM110
            if test(item):
                return True
        return False

    return holds_any


def _leaf_of_field(leaf: Leaf, field: _Field) -> Judge:
    """Return a comparison of a field that is read before."""
    if leaf.op == "none":
        return lambda _item: field.value is None or field.value is _MISSING
    value = leaf.value
    if leaf.op == "contains":
        field.is_looked_into = True

        def has(_item: Any) -> bool:
            beginning = field.beginning
            if beginning is _MISSING or beginning is None:
                return False
            try:
                return value in beginning
            except Exception:
                return False

        return has
    compare = _COMPARISONS[leaf.op]
    # None has no order and nothing in it: not to try is cheaper than to fail.
    never = _MISSING if leaf.op in ("==", "!=", "in") else None

    def holds(_item: Any) -> bool:
        there = field.value
        if there is _MISSING or there is never:
            return False
        try:
            return bool(compare(there, value))
        except Exception:
            return False  # nothing to compare: the comparison does not hold

    return holds


def _leaf(leaf: Leaf, get: Callable[[Any], Any], text_max: int) -> Judge:
    if leaf.op == "none":

        def is_none(item: Any) -> bool:
            try:
                return get(item) is None
            except Exception:
                return True

        return is_none
    value = leaf.value
    compare = _comparison(leaf.op, text_max)

    def holds(item: Any) -> bool:
        try:
            return bool(compare(get(item), value))
        except Exception:
            return False  # nothing to compare: the comparison does not hold

    return holds


def _comparison(op: str, text_max: int) -> Callable[[Any, Any], Any]:
    """Return what compares what is there with a value; it may raise."""
    if op == "contains":
        return lambda there, value: value in _beginning(there, text_max)
    return _COMPARISONS[op]


def _beginning(whole: Any, text_max: int) -> Any:
    """Return what ``contains`` looks at; to look for something in sets and keys costs no more."""
    kind = type(whole)
    if kind is str or kind is bytes:
        return whole if len(whole) <= text_max else whole[:text_max]
    if kind is list or kind is tuple:
        count_max = text_max // ELEMENT_CHARACTERS
        return whole if len(whole) <= count_max else whole[:count_max]
    return whole
