"""Ways to prove who sends a request.

The three names are classes, although modules of the same names lie here: ``from market_maker.auth import APIKeyAuth``
gives the class, ``from market_maker.auth.APIKeyAuth import generate_signature`` reaches into the module.
"""
from market_maker.auth.AccessTokenAuth import AccessTokenAuth
from market_maker.auth.APIKeyAuth import APIKeyAuth
from market_maker.auth.APIKeyAuthWithExpires import APIKeyAuthWithExpires

__all__ = ['APIKeyAuth', 'APIKeyAuthWithExpires', 'AccessTokenAuth']
