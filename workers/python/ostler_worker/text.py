"""Texts for the host: shortened, and of the type `str` itself."""


def shorten(text, limit):
    if type(text) is not str:
        text = str.__str__(text)  # a subclass of the user's
    if len(text) <= limit:
        return text
    mark = f"… [{len(text)} characters]"
    return text[: limit - len(mark)] + mark if limit > len(mark) else text[:limit]


def safe_str(value):
    try:
        return str.__str__(str(value))
    except Exception as problem:
        return f"<{type(value).__name__}: str() raised {type(problem).__name__}>"
