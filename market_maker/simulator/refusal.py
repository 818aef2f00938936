"""The one exception of the engine: a request that the exchange refuses, with BitMEX's status, text and error body."""
from typing import Any, Dict, Optional  # noqa: F401


class Refusal(Exception):
    """A refused request.

    ``status`` is the HTTP status, ``message`` BitMEX's text, ``name`` its kind of error, ``details`` its code (balance
    errors), ``headers`` what the answer must carry besides.  The engine's state is as it was before the request.
    """

    def __init__(self, status: int, message: str, name: str = 'HTTPError', details: Optional[str] = None,
                 headers: Optional[Dict[str, str]] = None):
        Exception.__init__(self, message)
        self.status = status
        self.message = message
        self.name = name
        self.details = details
        self.headers = headers or {}

    def body(self) -> Dict[str, Any]:
        """Return the error body as BitMEX sends it."""
        error = {'message': self.message, 'name': self.name}
        if self.details is not None:
            error['details'] = self.details
        return {'error': error}


def invalid(message: str) -> Refusal:
    """Return the refusal of a parameter: status 400."""
    return Refusal(400, message)
