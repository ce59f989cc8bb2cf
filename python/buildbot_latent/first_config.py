"""The fleet's configuration, where master.cfg says everything else: somebody has to name the fleet."""

from __future__ import annotations

import os
import uuid

from twisted.python import log

from .http import LinkError

TEXT = """\
# Written by the Buildbot plugin, because the workers of master.cfg need a fleet and there was none.
# It is yours from now on: `latent config default` shows what else may stand here.

[fleet]
# Every instance carries this name as a tag, and is found again by it. Change it only when none runs.
name = "buildbot-{id}"
controller = "buildbot-{id}"
"""


def write_if_missing(path: str) -> None:
    """Writes `path` if there is none. It is never written over."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return
    except OSError as e:
        raise LinkError(f"{path} is missing and cannot be written: {e}", "configuration") from e
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(TEXT.format(id=uuid.uuid4().hex[:8]))
    log.msg(f"latent: wrote {path}, because there was none")
