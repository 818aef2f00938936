"""The judge of a bot: from what the exchange saw, and what the bot wrote down, to pass or fail.  Pure, and on its own.

It shares no code with the bot or with the local exchange, so that no error of theirs can hide in it.
"""
