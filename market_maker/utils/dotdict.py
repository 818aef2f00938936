"""A dict whose keys are also attributes."""


class dotdict(dict):
    """A dict that can be read and written with a dot: ``d.key`` is ``d['key']``, and a missing key reads as None."""

    def __getattr__(self, name):  # type: (str) -> object
        if name.startswith('__') and name.endswith('__') and name not in self:
            raise AttributeError(name)  # copy, pickle and inspect probe for their hooks: None would look like one
        return self.get(name)

    def __setattr__(self, name, value):  # type: (str, object) -> None
        self[name] = value

    def __delattr__(self, name):  # type: (str) -> None
        del self[name]
