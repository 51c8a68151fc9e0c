r"""Foreign text, made safe to print.

Text from a store, a file or a server may hold control characters, which a terminal obeys (titles,
colours, links, a cleared screen), or right-to-left marks, which hide its meaning.
"""

from __future__ import annotations

import unicodedata

# Some scripts and emoji are not written without these.
_JOINERS = "\u200c\u200d"
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""`text` with every unprintable character escaped, newlines included.

    >>> print(printable("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) if _is_harmful(each) else each for each in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL and character not in _JOINERS


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
