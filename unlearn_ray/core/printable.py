r"""Text from elsewhere, made fit to be shown.

What a store, a file or a server says may hold control characters: a terminal obeys them (titles,
colours, links, a cleared screen), and text that runs right to left hides what it says.
"""

from __future__ import annotations

import unicodedata

# Some scripts and emoji are not written without these.
_JOINERS = "\u200c\u200d"
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""`text` with every character that is not shown written as an escape, newlines too.

    >>> print(printable("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) if _is_harmful(each) else each for each in text)


def printable_lines(text: str) -> str:
    """The same, of text that has lines."""
    return "\n".join(map(printable, text.split("\n")))


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL and character not in _JOINERS


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
