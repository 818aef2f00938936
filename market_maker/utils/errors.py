"""Everything that can go wrong, as one tree.

::

    MarketMakerError                     .exit_code, and one line of text: cause, value, way out
      SettingsError                      a setting, an argument or a file is not usable
      LocalExchangeError                 the local exchange cannot be started or reached
      AuthenticationError                the exchange refuses the key
      ConnectionLost                     the live tables can no longer be trusted
      MarketClosedError                  the instrument does not trade now
      MarketEmptyError                   the book has no orders to quote around
      SanityCheckError                   our own quotes make no sense
      LimitReached                       an order was not sent, because a limit of ours forbids it
      APIError                           .status .name .message .response   (also requests' HTTPError)
        OrderNotFound                    the exchange knows no such order
        OrderRejected                    the exchange refuses this order; others may pass
          InsufficientFunds              ... because the account cannot carry it
        RateLimited                      .reset: Unix seconds at which a request may be sent again
        Overloaded                       the request never reached the engine
      OutcomeUnknown                     .clOrdIDs: sent, perhaps carried out

A handler reads values from the error, never from its text.  Exit codes are those of ``docs/running.md``.
"""
from requests.exceptions import HTTPError

EXIT_OK = 0            # the run ended as asked: Ctrl-C, SIGTERM, or its time was up
EXIT_FAILURE = 1       # an error of ours, or of the exchange, that the run could not survive
EXIT_USAGE = 2         # settings, arguments, files, a missing extra: nothing was connected
EXIT_REFUSED = 3       # the exchange refuses the key
EXIT_UNREACHABLE = 4   # the exchange cannot be reached, or its data did not come
EXIT_WARNINGS = 5      # doctor: nothing that prevents a run, but something to look at
EXIT_FAULTS = 6        # doctor: something that prevents a run, or makes it dangerous
EXIT_BROKEN = 10       # `marketmaker chaos`: the bot broke one of its promises


class MarketMakerError(Exception):
    """Base of every error that a user may see; its text is one line and ``exit_code`` ends the process."""
    exit_code = EXIT_FAILURE


class SettingsError(MarketMakerError):
    """A setting, a command-line argument or a file cannot be used; the text names it, its value and the way out."""
    exit_code = EXIT_USAGE


class LocalExchangeError(MarketMakerError):
    """The local exchange cannot be started or reached; the text says what answers on its port instead."""
    exit_code = EXIT_USAGE


class AuthenticationError(MarketMakerError):
    """The exchange refuses the API key; waiting does not help."""
    exit_code = EXIT_REFUSED


class ConnectionLost(MarketMakerError):
    """The exchange cannot be reached, or its live tables can no longer be trusted."""
    exit_code = EXIT_UNREACHABLE


class MarketClosedError(MarketMakerError):
    """The instrument's state is not Open."""


class MarketEmptyError(MarketMakerError):
    """The order book has no price to quote around."""


class SanityCheckError(MarketMakerError):
    """The quotes that we are about to place make no sense."""


class LimitReached(MarketMakerError):
    """An order was not sent: it would pass a limit of the settings, or makes no sense."""


class APIError(MarketMakerError, HTTPError):
    """The exchange answered with an error.

    ``status`` is the HTTP status, ``name`` and ``message`` come from BitMEX's error body (or are empty), ``response``
    is the answer as the transport returned it, or None.  It is requests' HTTPError too, because strategies catch that.
    """

    def __init__(self, text, status=None, name='', message='', response=None):
        # type: (str, int, str, str, object) -> None
        HTTPError.__init__(self, text, response=response)  # type: ignore[arg-type]
        self.status = status
        self.name = name
        self.message = message or text
        self.response = response


class OrderNotFound(APIError):
    """The exchange knows no such order."""


class OrderRejected(APIError):
    """The exchange refuses this one order for good; the rest of the ladder may stand."""


class InsufficientFunds(OrderRejected):
    """The account's available balance does not cover the order."""


class RateLimited(APIError):
    """Too many requests; ``reset`` is the Unix second from which one may be sent again."""

    def __init__(self, text, reset, **details):
        # type: (str, float, **object) -> None
        APIError.__init__(self, text, **details)  # type: ignore[arg-type]
        self.reset = reset


class Overloaded(APIError):
    """The exchange shed the request before its engine saw it: it was certainly not carried out."""


class OutcomeUnknown(MarketMakerError):
    """A command was sent and may have been carried out; ``clOrdIDs`` lists what to look up before anything else."""

    def __init__(self, text, clOrdIDs=()):
        # type: (str, object) -> None
        MarketMakerError.__init__(self, text)
        self.clOrdIDs = list(clOrdIDs)  # type: ignore[call-overload]
