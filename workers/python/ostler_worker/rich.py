"""Rich representations by media type, and `display`."""

import io

from .channel import log
from .modules import load
from .output import flush_output
from .state import channel, limits, state
from .text import safe_str, shorten
from .values import can_be_sent

MIME_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
)


def mime_bundle(value):
    """The representations that `value` offers, by media type, as text or bytes."""
    kind = type(value)  # methods are looked up on the type: a mock or a proxy would answer to any name
    found = {}
    whole = getattr(kind, "_repr_mimebundle_", None)
    if whole is not None:
        try:
            bundle = whole(value)
            found.update(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        except Exception:
            pass
    for method, mime in MIME_METHODS:
        offer = getattr(kind, method, None)
        if offer is None or mime in found:
            continue
        try:
            part = offer(value)
        except Exception:
            continue
        part = part[0] if isinstance(part, tuple) else part
        if part is not None:
            found[mime] = part
    if not found and kind.__name__ == "Figure" and kind.__module__.startswith("matplotlib"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", bbox_inches="tight")
        found["image/png"] = picture.getvalue()
    return sendable_bundle(found)


def sendable_bundle(found):
    """Keeps the parts that fit `limits.max_display` together; what is neither text nor bytes becomes JSON."""
    bundle = {}
    size = 0
    for mime, part in found.items():
        if isinstance(part, (bytes, bytearray)):
            part = bytes(part)
        elif isinstance(part, str):
            part = str.__str__(part)
        else:
            try:
                part = load("json").dumps(part)
            except (TypeError, ValueError):
                part = safe_str(part)
        size += len(part)
        name = safe_str(mime)
        if size > limits.max_display:
            log("warn", f"a representation as {name} was dropped: more than {limits.max_display} bytes")
            size -= len(part)
        elif not name.startswith("$"):  # names with `$` are reserved by the JSON codec
            bundle[name] = part
    return bundle


def display(*values, metadata=None, display_id=None, update=False):
    """Shows values as richly as they can be shown."""
    execution = state.current
    for value in values:
        bundle = mime_bundle(value)
        bundle.setdefault("text/plain", shorten(repr(value), limits.max_repr))
        if execution is None or state.forked:
            print(bundle["text/plain"])
            continue
        message = {"type": "display", "id": execution.id, "data": bundle}
        if isinstance(metadata, dict) and can_be_sent(metadata):
            message["metadata"] = metadata
        if display_id is not None:
            message["display_id"] = shorten(str(display_id), 256)
        if update:
            message["update"] = True
        flush_output()
        channel.send(message)
