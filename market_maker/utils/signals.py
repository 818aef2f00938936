"""Signals that have to wait a moment."""
import contextlib
import os
import signal
import threading
from typing import Any, Dict, Iterator, List  # noqa: F401

ENDING = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name))


@contextlib.contextmanager
def held():
    # type: () -> Iterator[None]
    """Let Ctrl-C and its kin wait until the end of the block; nothing is held on another thread than the main one.

    Compiled modules do not expect that an exception breaks into what they import themselves: the interpreter crashes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []   # type: List[int]
    before = {number: signal.getsignal(number) for number in ENDING}   # type: Dict[int, Any]
    # None: a handler that is not Python's, and that could not be put back
    held_now = [number for number in ENDING if before[number] not in (signal.SIG_IGN, None)]
    for number in held_now:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number in held_now:
            signal.signal(number, before[number])
        for number in came[:1]:
            if callable(before[number]):
                before[number](number, None)
            else:
                os.kill(os.getpid(), number)
