"""What labeling configurations have in common: attributes that XML can carry, and keys on choices."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

# What XML cannot carry even when escaped (XML 1.0, section 2.2); a tab or line break would come back as a
# space. Half a surrogate pair cannot even be encoded.
_NOT_IN_XML = dict.fromkeys([*range(32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF])
# The keys that Label Studio itself gives to choices, in its order; r, u and h are its tools.
_KEYS = "1234567890qwetasdfgzxcvbyiopjklnm"


def attribute(value: str) -> str:
    """The value in quotes, escaped."""
    return quoteattr(value.translate(_NOT_IN_XML))


def hotkey(number: int) -> str:
    """The attribute with the key of the choice of that number, from 0; empty when there is no key left."""
    return f' hotkey="{_KEYS[number]}"' if number < len(_KEYS) else ""
