"""User data as cloud-init reads it: one text, or a MIME message of several."""

from __future__ import annotations

import email
from dataclasses import dataclass

# cloud-init looks for a message in so much of the text.
MIME_WITHIN = 4096
BOOTHOOK = "#cloud-boothook"


@dataclass(frozen=True)
class Part:
    """One text of it."""

    # As the message says; empty for what is no message.
    kind: str
    name: str
    text: str


def parts(text: str) -> list[Part]:
    """All of them, also those of a message within the message."""
    if "mime-version:" not in text[:MIME_WITHIN].lower():
        return [Part("", "", text)]
    message = email.message_from_string(text)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    return [Part(part.get_content_type(), part.get_filename() or "", _decoded(part)) for part in leaves]


def boothook(text: str, name: str) -> str:
    """The script for every boot of that name, or the only one; empty if there is none."""
    for part in parts(text):
        if part.kind == "text/cloud-boothook" and part.name == name:
            return part.text
        if not part.kind and part.text.startswith(BOOTHOOK):
            return part.text[len(BOOTHOOK) :].lstrip()
    return ""


def _decoded(part: email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
