"""What comes before gradio: routes that nobody needs are closed, and no request is larger than memory or disk can hold."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio import uploads

BODY = 2_000_000  # bytes of a request that is no upload
# gradio would run ffmpeg on a stranger's video, fetch any address of the network, and write files for its own links
CLOSED = re.compile(
    r"/gradio_api/(process_recording|proxy=|file[=/]\s*\w+:/|stream/|dev/|(undo-)?vibe-|deep_link)", re.I
)


class Gate:
    """Refuses a request for a closed route, one that is too long, and an upload that the disk should not hold."""

    def __init__(self, app: ASGIApp):
        self._app = app
        self._came = 0  # bytes of uploads since the start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and count what comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        if scope.get("client"):
            # MCP's tools call the API from here, with the headers that came
            headers.setdefault("x-forwarded-for", scope["client"][0])
        is_upload = scope["path"].rstrip("/").endswith("/gradio_api/upload")
        before = self._came
        if is_upload:
            refused, room = (
                JSONResponse({"detail": uploads.FULL}, 507),
                uploads.MOST - await asyncio.to_thread(uploads.held),
            )
        else:
            said = "A request holds at most 2 MB; files are sent by gradio_api/upload."
            refused, room = JSONResponse({"detail": said}, 413), BODY
        length = headers.get("content-length", "")
        came, is_over, is_whole, has_begun = 0, False, False, False

        async def counted() -> Message:
            nonlocal came, is_over, is_whole
            message = await receive()
            came += len(message.get("body", b""))
            if is_upload:
                self._came += len(message.get("body", b""))
                # gradio deletes what it has written of a file for this exception alone
                if message["type"] == "http.disconnect" and not is_whole:
                    raise MultiPartException("The sender is gone.")
            is_whole = is_whole or not message.get("more_body", False)
            is_over = (self._came - before if is_upload else came) > room
            if is_over:
                raise MultiPartException("This is too much.")
            return message

        async def answered(message: Message) -> None:
            nonlocal has_begun
            if is_over and not has_begun:
                return
            has_begun = True
            await send(message)

        if CLOSED.search(scope["path"]):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        elif length.isdecimal() and int(length) > room:
            await refused(scope, receive, send)
        else:
            try:
                await self._app(scope, counted, answered)
            except Exception:
                if not is_over:
                    raise
            if is_over and not has_begun:
                await refused(scope, receive, send)


def public(headers: Mapping[str, str], scheme: str, root: str) -> str:
    """The address of the studio as a visitor knows it, without a slash at the end.

    headers: those of a request; scheme, root: what the server itself knows
    """
    root = (os.environ.get("GRADIO_ROOT_PATH") or root).rstrip("/")
    if "://" in root:
        return root
    scheme = headers.get("x-forwarded-proto", scheme).split(",")[0]
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0]
    return f"{scheme}://{host}{root}"
