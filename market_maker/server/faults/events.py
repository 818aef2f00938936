"""Trouble with the exchange itself: closed markets, empty books, clocks that jump, trades by hand, restarts."""
import asyncio
import logging
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.server.checks import LONGEST, number, one_of, text, whole
from market_maker.server.faults.fault import Fault
from market_maker.simulator.exchange import Refusal

logger = logging.getLogger('root')


class Event(Fault):
    """Something that happens at the exchange when it is switched on, and perhaps again ``every`` so many seconds."""

    def repeat(self) -> None:
        """Happen, and come back later when asked to."""
        if not self.is_on or self.is_spent:
            return
        if self.strikes():
            self.happen()
            self.server.hub.flush()
        every = self.options.get('every')
        if every is not None:
            asyncio.get_running_loop().call_later(every, self.repeat)

    def begin(self) -> None:
        """Happen for the first time."""
        self.repeat()

    def happen(self) -> None:
        """Do it."""

    def symbols(self) -> List[str]:
        """Return the contract that is meant, or all."""
        wanted = self.options['symbol']
        return [name for name in self.server.exchange.tapes if wanted in (None, name)]


class MarketClosed(Event):
    """Contracts that are closed for trading until the fault ends; the market leaves them alone."""

    OPTIONS = {'symbol': (None, text)}

    def happen(self) -> None:
        """Close them."""
        for symbol in self.symbols():
            self.server.exchange.set_state(symbol, 'Closed')

    def end(self) -> None:
        """Open what was not settled meanwhile."""
        for symbol in self.symbols():
            if self.server.exchange.instruments[symbol].row['state'] == 'Closed':
                self.server.exchange.set_state(symbol, 'Open')


class Settled(Event):
    """A contract that settles at its index and never trades again."""

    OPTIONS = {'symbol': ('XBTUSD', text)}

    def happen(self) -> None:
        """Settle it."""
        for symbol in self.symbols():
            self.server.exchange.set_state(symbol, 'Settled')


class EmptyBook(Event):
    """The market goes home: its orders leave the book, one side of it or both, and nobody trades until it is back."""

    OPTIONS = {'side': ('both', one_of('both', 'Buy', 'Sell'))}

    def happen(self) -> None:
        """Take the market's orders out of the books, and keep it from placing others."""
        self.server.hold_market(self, True)
        exchange = self.server.exchange
        for book in exchange.books.values():
            for side in (book.bids, book.asks):
                if self.options['side'] in ('both', side.name):
                    own = [order for level in side.walk() for order in level if order.account is exchange.market]
                    for order in own:
                        exchange.withdraw(order)

    def end(self) -> None:
        """Let the market come back."""
        self.server.hold_market(self, False)


class TickSize(Event):
    """The tick of a contract changes while it trades: ``factor`` times what it was listed with, until the end."""

    OPTIONS = {'symbol': (None, text), 'factor': (5, whole(1, 1000))}

    def happen(self) -> None:
        """Make the ticks coarser."""
        self._set(self.options['factor'])

    def end(self) -> None:
        """Put the old ticks back."""
        self._set(1)

    def _set(self, factor: int) -> None:
        for symbol in self.symbols():
            self.server.exchange.set_tick(symbol, self.server.exchange.instruments[symbol].price_of(factor))


class ManualTrade(Event):
    """The owner of an account trades by hand: a market order of ``quantity`` that no program of his knows of.

    ``symbol`` is by default the first contract of the exchange.
    """

    OPTIONS = {'symbol': (None, text), 'side': ('Buy', one_of('Buy', 'Sell', 'either')),
               'quantity': (100, whole(1, 10 ** 9)), 'every': (None, number(0.01, LONGEST))}

    def happen(self) -> None:
        """Place the order for every account that is meant."""
        side = self.options['side']
        if side == 'either':
            side = self.rng.choice(('Buy', 'Sell'))
        symbol = self.options['symbol'] or next(iter(self.server.exchange.tapes))
        for account in list(self.server.exchange.accounts.values()):
            if self.is_for(account):
                try:
                    self.server.exchange.place(account, {
                        'symbol': symbol, 'side': side, 'orderQty': self.options['quantity'],
                        'ordType': 'Market', 'text': 'Submission from www.bitmex.com'})
                except Refusal as refusal:
                    logger.info('Fault %s: account %d is refused: %s', self.name, account.id, refusal)


class ClockSkew(Event):
    """The exchange's clock is off by ``offset`` seconds; with ``every`` it jumps to another offset up to that."""

    OPTIONS = {'offset': (30.0, number(-LONGEST, LONGEST)), 'every': (None, number(0.01, LONGEST))}

    def happen(self) -> None:
        """Set the clock: Date header, expiries, limits and all timestamps of what happens now."""
        offset = self.options['offset']
        if self.hits > 1:
            offset = self.rng.uniform(-abs(offset), abs(offset))
        self.server.set_skew(offset)

    def end(self) -> None:
        """Set it right."""
        self.server.set_skew(0.0)


class Restart(Event):
    """The exchange goes down and comes back after ``down`` seconds on the same port.

    ``books``: 'kept' as they were, 'canceled' (all orders of all accounts), or 'fresh': another exchange, which knows
    the keys and nothing else.
    """

    OPTIONS = {'down': (1.0, number(0.0, LONGEST)), 'books': ('kept', one_of('kept', 'canceled', 'fresh')),
               'every': (None, number(0.01, LONGEST))}

    def happen(self) -> None:
        """Go down; the rest follows by itself."""
        self.server.restart_soon(self.options['down'], self.options['books'])
