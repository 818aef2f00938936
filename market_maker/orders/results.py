"""What a run has done: orders, fills, volume, fees, funding, result.  Pure: execution rows are handed in."""
from __future__ import absolute_import

from collections import OrderedDict
from typing import Any, Callable, Dict, List, Optional  # noqa: F401

REMEMBERED = 2000   # executions whose names are kept, so that none is counted twice; the feed keeps 1,000


class Results(object):
    """Counts of one run.  Quantities are contracts, money is in minor units of the settlement currency (paid is
    positive)."""

    def __init__(self):
        # type: () -> None
        self.created = self.amended = self.cancelled = 0   # orders
        self.fills = self.bought = self.sold = 0           # executions of our own orders; contracts
        self.fees = self.funding = 0                       # minor units
        self.wallet_before = None                          # type: Optional[int]   # minor units, when the run began
        self._seen = OrderedDict()                         # type: Dict[str, bool]   # execID -> True

    def count(self, executions, is_own):
        # type: (List[Dict[str, Any]], Callable[[Dict[str, Any]], bool]) -> None
        """Count the executions that were not counted before: fills of our own orders, and the account's funding."""
        for row in executions:
            if not self._is_new(row):
                continue
            if row.get('execType') == 'Funding':
                self.funding += row.get('execComm') or 0
            elif row.get('execType') == 'Trade' and is_own(row):
                self.fills += 1
                self.fees += row.get('execComm') or 0
                if row.get('side') == 'Buy':
                    self.bought += row.get('lastQty') or 0
                else:
                    self.sold += row.get('lastQty') or 0

    def _is_new(self, row):
        # type: (Dict[str, Any]) -> bool
        name = row.get('execID')
        if not name or name in self._seen:
            return False
        self._seen[name] = True
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)   # type: ignore[call-arg]
        return True
