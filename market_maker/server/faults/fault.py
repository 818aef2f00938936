"""What every injected trouble has: a name, options that are checked, whom it strikes, and a count of its hits.

A fault belongs to the event loop's thread, once it is switched on.  Its random numbers come from a generator of its
own, seeded by the seed of the exchange, its name and how many were switched on before it: the same requests in the same
order meet the same trouble.
"""
import random
from typing import Any, Dict  # noqa: F401

from market_maker.server.checks import LONGEST, Options, number, someone, whole  # noqa: F401


class Fault(object):
    """One kind of trouble, switched on: ``begin`` and ``end`` are called once each by the board that holds it.

    ``options`` are complete and checked.  ``hits`` counts what it struck.
    """

    name = ''              # as it is switched on; set by the catalogue
    OPTIONS = {}           # type: Options
    COMMON = {
        'account': (None, someone), 'seconds': (None, number(0.001, LONGEST)),
        'rate': (1.0, number(0.0, 1.0)), 'count': (None, whole(1, 10 ** 9)), 'skip': (0, whole(0, 10 ** 9)),
    }  # type: Options

    strikes_requests = False
    strikes_streams = False
    strikes_upgrades = False

    def __init__(self, server: Any, options: Dict[str, Any], rng: random.Random) -> None:
        self.server = server
        self.options = options
        self.rng = rng
        self.seen = 0      # what it could have struck
        self.hits = 0
        self.is_on = False

    def begin(self) -> None:
        """Take effect; the event loop runs."""

    def end(self) -> None:
        """Take the effect back, as far as it can be taken back."""

    @property
    def is_spent(self) -> bool:
        """Return whether it has struck as often as it was asked to."""
        return self.options['count'] is not None and self.hits >= self.options['count']

    def strikes(self) -> bool:
        """Count one thing that it concerns, and decide by ``skip``, ``rate`` and ``count`` whether to strike."""
        self.seen += 1
        if self.seen <= self.options['skip'] or self.is_spent:
            return False
        rate = self.options['rate']
        if rate < 1 and self.rng.random() >= rate:
            return False
        self.hits += 1
        return True

    def is_for(self, account: Any) -> bool:
        """Return whether it concerns an account (None: whoever did not say who he is)."""
        wanted = self.options['account']
        if wanted is None:
            return True
        return account is not None and (account.id == wanted or any(key.key == wanted for key in account.keys))

    def row(self) -> Dict[str, Any]:
        """Return name, options that have a value, and hits, as plain data; of a key the beginning: this is logged."""
        options = {name: value for name, value in self.options.items() if value is not None}
        if isinstance(options.get('account'), str):
            options['account'] = options['account'][:4] + '...'
        return {'fault': self.name, 'hits': self.hits, 'options': options}
