"""What we believe of our orders, held against what the exchange says.  Pure: rows are handed in.

A *ghost* is an order that our tables show and the exchange does not work; a *zombie* is an order of ours that rests at
the exchange and that our tables do not show; an *altered* order rests with another price or size than we believe.
Answers and messages travel at different speeds, so one look proves nothing: who looks twice, some seconds apart, and
finds the same, has found a mistake (``Suspicion``).
"""
from __future__ import absolute_import

from collections import namedtuple
from typing import Any, Dict, Iterable, List  # noqa: F401

GHOST, ZOMBIE, ALTERED, POSITION = 'ghost', 'zombie', 'altered', 'position'

Finding = namedtuple('Finding', 'kind name row')
Finding.__doc__ = """A difference: its kind, what it is about (an orderID, or both quantities of a position), and the
exchange's row, or for a ghost ours."""


def compare(before, there, after, flying):
    # type: (Iterable[Dict[str, Any]], Iterable[Dict[str, Any]], Iterable[Dict[str, Any]], Iterable[str]) -> List[Finding]
    """Return the differences between our view of our open orders and the exchange's.

    ``before`` and ``after`` are our view just before and just after the exchange was asked for ``there``; what changed
    in between is no difference.  ``flying`` are the names of creates without an answer.
    """
    first, last = _by_id(before), _by_id(after)
    found = _by_id(there)
    flying = set(flying)
    findings = [Finding(GHOST, name, row) for name, row in sorted(first.items())
                if name not in found and name in last and _same(row, last[name])]
    for name, row in sorted(found.items()):
        if name not in first and name not in last:
            if row.get('clOrdID') not in flying:
                findings.append(Finding(ZOMBIE, name, row))
        elif name in first and name in last and _same(first[name], last[name]) and not _same(row, last[name]):
            findings.append(Finding(ALTERED, name, row))
    return findings


class Suspicion(object):
    """Findings that were made before, and when first."""

    def __init__(self):
        # type: () -> None
        self._since = {}   # type: Dict[Any, float]   # (kind, name) -> when it was found first
        self.is_empty = True

    def confirmed(self, findings, now, patience):
        # type: (Iterable[Finding], float, float) -> List[Finding]
        """Return the findings that were made ``patience`` seconds ago already; the others are looked at again."""
        proven, since = [], {}   # type: List[Finding], Dict[Any, float]
        for finding in findings:
            what = finding.kind, finding.name, finding.row.get('price'), finding.row.get('leavesQty')
            at = self._since.get(what, now)   # with other numbers it is another one: something moves
            if now - at >= patience:
                proven.append(finding)
            else:
                since[what] = at
        self._since = since
        self.is_empty = not since
        return proven


def _by_id(rows):
    # type: (Iterable[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]
    return {row['orderID']: row for row in rows if row.get('orderID')}


def _same(one, other):
    # type: (Dict[str, Any], Dict[str, Any]) -> bool
    return all(one.get(field) == other.get(field) for field in ('price', 'leavesQty', 'stopPx'))
