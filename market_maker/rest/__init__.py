"""The way to the exchange's REST interface: one round trip, what follows from it, and how often one may ask."""
