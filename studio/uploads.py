"""What strangers send: files, and calls of gradio's API with another form than it has."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from engines.arguments import Refusal
from studio.exhibit import Drawing, Upload

KEPT = int(os.environ.get("STUDIO_FILE_SECONDS", "86400"))
MOST = int(1e6 * float(os.environ.get("STUDIO_UPLOAD_MB", "2000")))  # bytes of all files that were sent
FULL = "The studio's disk is full: try again later."


def held() -> int:
    """Bytes in the folder of uploads, at least a block for each file. What gradio forgot to delete goes: the files of a
    process that was killed, and halves of files whose sender was gone."""
    total, since = 0, time.time() - KEPT - 3600
    for folder, _, names in os.walk(get_upload_folder()):
        for name in names:
            file = Path(folder, name)
            with suppress(OSError):  # gone meanwhile
                found = file.lstat()
                if found.st_ctime < since and stat.S_ISREG(found.st_mode):
                    file.unlink()
                else:
                    total += max(found.st_size, 4096)
    return total


class Guarded(gr.Blocks):
    """Blocks that say what is wrong with a call, where gradio would answer `null`, and fetch nothing for a stranger."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *more: Any, **named: Any) -> Any:
        """The inputs as a function takes them; gr.Error where they are too few, or name a file that was not sent."""
        if len(inputs) < len(block_fn.inputs):
            raise gr.Error(
                f"This takes {len(block_fn.inputs)} values, and {len(inputs)} came: send all of them, or send them by name to "
                "gradio_api/call/v2.",
                print_exception=False,
            )
        try:
            traverse(inputs, _of_no_address, is_file_obj_with_meta)
            return await super().preprocess_data(block_fn, inputs, *more, **named)
        except (InvalidPathError, OSError) as fault:  # too long a name among them
            if getattr(fault, "errno", None) == errno.ENOSPC:
                raise gr.Error(FULL, print_exception=False) from None
            raise gr.Error("The file is none that was sent here: send it first.", print_exception=False) from None


def _of_no_address(file: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(file["path"], str) or is_http_url_like(file["path"]) or "\0" in file["path"]:
        raise InvalidPathError
    return file


def sent_file(control: Drawing | Upload, raw: Any) -> str:
    """The path of a file that the browser says it sent; a Refusal where it is none that was sent to us."""
    try:
        path = Path(raw).resolve() if isinstance(raw, str) and len(raw) < 1_000 else None
    except ValueError:  # no path can have a null or half a surrogate pair in it
        path = None
    # it must not name another file of this machine
    if path is None or not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise Refusal("{parameter}: the file is no longer here; send it again.", parameter=control.label)
    if isinstance(control, Upload):
        if path.suffix.lower() not in control.accept:
            raise Refusal(
                "{parameter}: choose a file ending in {endings}.",
                parameter=control.label,
                endings=", ".join(control.accept),
            )
        if path.stat().st_size > control.megabytes * 1e6:
            raise Refusal(
                "{parameter}: the file is larger than {most} MB; choose a smaller one.",
                parameter=control.label,
                most=control.megabytes,
            )
    return str(path)
