"""An exchange without sockets: instruments, books, accounts, margin and tables in memory.  Pure: time and randomness
are handed in.
"""
