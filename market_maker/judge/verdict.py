"""The verdict on a run: one line for each of the invariants (a) to (h)."""
from __future__ import absolute_import

from typing import Any, Iterable, List, Tuple  # noqa: F401

from market_maker.judge import cleanness, conduct, freshness, position
from market_maker.judge.evidence import Evidence, Finding

INVARIANTS = (
    ('a', 'one process from start to stop', conduct.not_the_same),
    ('b', 'position within its limits, orders within the wanted ladder', position.overreach),
    ('c', 'every order in the ledger, every command resolved, none resent in doubt', conduct.lost_track),
    ('d', 'every fill booked once, position and result to the satoshi', position.miscount),
    ('e', 'requests within the limits, silence kept when asked for', conduct.beyond_limits),
    ('f', 'nothing quoted on stale or incomplete data', freshness.quoted_on_stale_data),
    ('g', 'no unwanted order after trouble, none after the end', cleanness.left_behind),
    ('h', 'no foreign order touched', conduct.touched),
)


def judge(evidence: Evidence) -> List[Finding]:
    """Return what came out for each invariant, (a) to (h)."""
    findings = []   # type: List[Finding]
    for letter, title, look in INVARIANTS:
        words = look(evidence)
        findings.append(Finding(letter, title, not words, words))
    return findings


def is_kept(findings: Iterable[Finding]) -> bool:
    """Tell whether every invariant was kept."""
    return all(finding.is_kept for finding in findings)
