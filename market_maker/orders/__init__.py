"""What we want to rest, how to get there from what rests now, and what must never be sent.  Pure: values in and out."""
