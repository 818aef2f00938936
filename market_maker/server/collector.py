"""How often Python looks for cyclic garbage in a process that is an exchange and nothing else.

An exchange keeps some hundred thousand rows and makes next to no cycles.  With Python's own thresholds every few dozen
orders one waits for a look through young objects, and now and then one for a look through all of them.
"""
import gc

YOUNG = 10000    # objects more than were freed until Python looks for garbage among the young ones (its own: 700)


def spare() -> None:
    """Look less often from now on, and never at what is there already: modules, that is.

    For whoever owns the process, and before there is an exchange: a restart may replace that one, and its parts, which
    know each other, have to be found then.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
