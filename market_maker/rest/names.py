"""The names (clOrdIDs) that our orders go by.  Pure: randomness is handed in.

A name is the bot's prefix and 22 characters: 16 random bytes in base64 without its padding, in the ordinary alphabet
(letters, digits, '+' and '/'), as in BitMEX's published signature example.  That alphabet lacks '_' and '-', so the end
of a prefix such as ``mm_bitmex_`` is never mistaken for the start of the random part; where '/' and '+' go into a
query, they are percent-encoded.
"""
from __future__ import absolute_import

import base64
import re
from typing import Any, Optional

from market_maker.utils.constants import ORDERID_PREFIX_LIMIT
from market_maker.utils.errors import SettingsError

VERSION_BITS, VERSION_4 = 0xf000c000000000000000, 0x40008000000000000000   # RFC 4122: a random UUID says so
_RANDOM_PART = re.compile(r'[A-Za-z0-9+/]{21}[AQgw]\Z')  # 128 bits are 21 characters of 6 bits, and 2 bits in the last


def new_name(prefix: str, rng: Any) -> str:
    """Return a name that was never used before; ``rng`` is a random.Random (or SystemRandom)."""
    token = (rng.getrandbits(128) & ~VERSION_BITS | VERSION_4).to_bytes(16, 'big')
    return prefix + base64.b64encode(token).decode('ascii').rstrip('=')


def is_generated(name: Optional[str], prefix: str) -> bool:
    """Tell whether ``new_name`` makes such names with exactly that prefix, and not with a longer one like it."""
    return bool(name) and str(name).startswith(prefix) and _RANDOM_PART.match(str(name)[len(prefix):]) is not None


def is_drawn(name: Any) -> bool:
    """Tell whether a name ends like those of ``new_name``, whatever its prefix: nobody else can have used it."""
    return _RANDOM_PART.match(str(name)[-22:]) is not None and _is_version_4(str(name)[-22:])


def _is_version_4(token):
    # type: (str) -> bool
    value = base64.b64decode(token + '==')
    return value[6] >> 4 == 4 and value[8] >> 6 == 2   # of 64 texts that look alike, one passes by chance


def checked_prefix(prefix: str) -> str:
    """Return the prefix; raise SettingsError where it leaves no room for 22 characters (36 is BitMEX's limit)."""
    if len(prefix) > ORDERID_PREFIX_LIMIT:
        raise SettingsError('ORDERID_PREFIX {!r} has {} characters; {} is the most'
                            .format(prefix, len(prefix), ORDERID_PREFIX_LIMIT))
    return prefix
