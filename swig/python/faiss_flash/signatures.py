"""Arguments of faiss's methods that the engine does not serve; they differ between versions."""

import inspect


def asks_for_more(method, args, options, known):
    """True where arguments of faiss's method behind the first `known` are other than by default.

    Raises TypeError where this version of the method does not have them.
    """
    if len(args) == known and not options:
        return False
    signature = inspect.signature(method)
    given = list(signature.bind(*args, **options).arguments.items())
    return any(
        value is not default and not (isinstance(value, int) and value == default)
        for value, default in (
            (value, signature.parameters[name].default) for name, value in given[known:]
        )
    )
