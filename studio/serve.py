"""The server: the script, the style and the texts from addresses that name their content, and the page that asks for them."""

from __future__ import annotations

import errno
import gc
import hashlib
import html
import json
import logging
import os
import re
import sys
import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import brotli
import gradio as gr
import plotly
from fastapi import FastAPI
from gradio import state_holder
from gradio.route_utils import FnIndexInferError
from gradio_client.client import Endpoint
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio import link
from studio.api import returned
from studio.declared import declared
from studio.errata import SUBJECT, entries
from studio.exhibit import Upload
from studio.exhibits import EXHIBITS
from studio.gate import Gate, public
from studio.language import LANGUAGES, translate
from studio.markup import plain
from studio.page import page
from studio.theme import ASSETS, theme
from studio.turns import give_back, switch_often
from studio.uploads import FULL, held

SCRIPTS = (
    "look",
    "figures",
    "panels",
    "controls",
    "sweep",
    "stage",
    "home",
    "errata",
    "app",
)  # joined in this order into one function


class Kept:
    """A text served compressed, and kept by browsers for good: its address has a digest of it."""

    def __init__(self, name: str, media_type: str, body: bytes, quality: int = 5):
        stem, ending = name.rsplit(".", 1)
        self.address = f"studio/{stem}-{hashlib.sha256(body).hexdigest()[:12]}.{ending}"
        self._type, self._packed = media_type, Future()
        # in a thread of its own: plotly's bundle takes a second
        threading.Thread(
            target=lambda: self._packed.set_result(brotli.compress(body, quality=quality)), daemon=True
        ).start()

    def serve(self, request: Request) -> Response:
        """The body, as the browser takes it."""
        kept = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        if "br" in request.headers.get("accept-encoding", ""):
            kept["Content-Encoding"] = "br"
            return Response(self._packed.result(), media_type=self._type, headers=kept)
        return Response(brotli.decompress(self._packed.result()), media_type=self._type, headers=kept)

    @property
    def route(self) -> Route:
        """Where it is."""
        return Route(f"/{self.address}", self.serve)


def script() -> str:
    """The browser's half of the studio."""
    parts = [(ASSETS / "studio" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


# MIME types are what we say, and other sites learn our address, but not what a visitor looks at.
SAFE = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"strict-origin-when-cross-origin")]


NOT_OURS = (LookupError, ValueError, TypeError, AttributeError, RecursionError, ClientDisconnect, FnIndexInferError)


class Front:
    """Puts into the page's head what belongs there before any script runs: a title, a preview, and what to load."""

    def __init__(self, app: ASGIApp, files: dict[str, Kept]):
        self._app, self._files = app, files
        # gradio writes the description of 800 components anew for each page: the latest are kept, by what it looks at
        self._pages: OrderedDict[tuple, tuple[Message, bytes]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; only the page itself is changed. It may stand in a frame of any other page, on purpose."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def safe(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message = message | {"headers": [*message["headers"], *SAFE]}
                if message["status"] == 500 and "/gradio_api/mcp" in scope["path"]:
                    message["status"] = (
                        400  # MCP's server says 500 of a body that it cannot read; faults it answers with 200
                    )
            await send(message)

        is_page = scope["path"].rstrip("/") in ("", scope.get("root_path", "").rstrip("/"))
        try:
            await (self._page if scope["method"] == "GET" and is_page else self._app)(scope, receive, safe)
        except Exception as fault:
            if has_begun or is_page:
                raise
            if getattr(fault, "errno", None) == errno.ENOSPC:
                status, said = 507, FULL
            elif "/gradio_api/" not in scope["path"] or not isinstance(fault, NOT_OURS):
                raise
            else:  # gradio's own handlers, asked for what is not there or has another form
                logging.warning("%s %s is not understood", scope["method"], scope["path"], exc_info=True)
                status, said = 400, "This is nothing that the studio's page or its API asks."
            await JSONResponse({"detail": said}, status)(scope, receive, safe)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = b""
        asked = dict(scope["headers"])
        told = [
            asked.get(name, b"") for name in (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")
        ]
        kept = (scope["path"], scope.get("root_path", ""), scope.get("scheme"), *told)

        async def finish() -> None:
            title, head = self._head(scope)
            whole = body.replace(b"</head>", f"<title>{html.escape(title)}</title>{head}</head>".encode(), 1)
            length = (b"content-length", str(len(whole)).encode())
            await send(start | {"headers": [*start["headers"], length]})
            await send({"type": "http.response.body", "body": whole})

        async def hold(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            start["headers"] = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
            # of two previews the first counts: gradio's own goes
            body = re.sub(
                rb'<title>.*?</title>|<meta\s+(?:property="og:|name="(?:twitter:|description))[^>]*>', b"", body
            )
            if start["status"] == 200 and b"deep_link" not in scope.get("query_string", b""):
                self._pages[kept] = start, body
                while len(self._pages) > 8:
                    self._pages.popitem(last=False)
            await finish()

        if kept in self._pages:
            start, body = self._pages[kept]
            await finish()
        else:
            await self._app(scope, receive, hold)

    def _head(self, scope: Scope) -> tuple[str, str]:
        """The title and the rest of the head, for the query that is asked."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        language = query.get("lang", [""])[0]
        if language not in LANGUAGES:
            accepted = dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1").lower()
            language = "zh" if accepted.startswith("zh") else "en"
        slug = query.get("tab", [""])[0].lower()
        exhibit = next((exhibit for exhibit in EXHIBITS if exhibit.slug == slug), None)
        title, summary = (
            "Scientific Spaces Studio",
            translate("The mathematics of Su Jianlin's blog, to be explored by hand.", language),
        )
        picture = "studio"
        if slug == SUBJECT:
            title = f"{translate('Errata', language)} · {title}"
        if exhibit:
            title = f"{translate(exhibit.title, language, slug)} · {title}"
            summary = plain(translate(exhibit.summary, language, slug))
            picture = slug if f"preview-{slug}" in self._files else picture
            view = next((view for view in exhibit.views if view.slug == query.get("view", [""])[0].lower()), None)
            if view:
                title = f"{translate(view.title, language, slug)} · {title}"
                summary = plain(translate(view.caption, language, slug))[:300]
        texts = {
            name.removeprefix("texts-"): kept.address for name, kept in self._files.items() if name.startswith("texts-")
        }
        base = public(Headers(scope=scope), scope.get("scheme", "http"), scope.get("root_path", ""))
        return title, (
            f'<meta property="og:title" content="{html.escape(title)}">'
            f'<meta property="og:image" content="{html.escape(base)}/{self._files[f"preview-{picture}"].address}">'
            '<meta name="twitter:card" content="summary_large_image">'
            f'<meta name="description" content="{html.escape(summary)}">'
            f'<meta property="og:description" content="{html.escape(summary)}">'
            '<meta property="og:type" content="website">'
            f'<link rel="stylesheet" href="{self._files["style"].address}">'
            f'<link rel="preload" as="fetch" crossorigin href="{texts[language]}">'
            f"<script>window.studioFiles={{plotly:{self._files['plotly'].address!r},texts:{texts!r},"
            f"space:{json.dumps(os.environ.get('SPACE_ID'))}}};"
            "window.studioReady=new Promise((ready)=>{window.studioMade=ready});</script>"
            f'<script defer src="{self._files["script"].address}"></script>'
        )


def files() -> dict[str, Kept]:
    """Everything that the page loads from us, by name."""
    bundle = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()  # pyright: ignore[reportArgumentType]
    previews = {file.stem: file for file in (ASSETS / "studio.png", *(ASSETS / "previews").glob("*.png"))}
    return {
        **{f"preview-{name}": Kept(f"{name}.png", "image/png", file.read_bytes()) for name, file in previews.items()},
        "plotly": Kept("plotly.js", "text/javascript", bundle),
        "script": Kept("studio.js", "text/javascript", script().encode()),
        "style": Kept("studio.css", "text/css", (ASSETS / "studio.css").read_bytes()),
        **{
            f"texts-{language}": Kept(f"texts-{language}.json", "application/json", declared(language).encode())
            for language in LANGUAGES
        },
    }


@cache
def told() -> str:
    """llms.txt: what is here, and how a program asks for it."""
    lines = [
        "# Scientific Spaces Studio",
        "",
        "> Interactive exhibits on the mathematics of Su Jianlin's blog kexue.fm; every figure is computed by an engine in torch.",
        "",
        "Every view is an endpoint of the gradio API: POST gradio_api/call/{exhibit}_{view} (dashes as underscores), described at "
        "gradio_api/info; gradio_api/call/v2 takes settings by name, and those alone that differ. The endpoints list_views, describe_view and run_view serve all of them; over MCP (at gradio_api/mcp, where "
        "the host has switched it on) they are the tools. `?tab={exhibit}&view={view}&{setting}={value}` opens the page.",
    ]
    for exhibit in EXHIBITS:
        lines += ["", f"## {exhibit.title}", "", plain(exhibit.summary), ""]
        for view in exhibit.views:
            arrays = "; ".join(f"{name}: {words.rstrip('.')}" for name, words in returned(view).items())
            lines += [
                f"- [{view.title}]({link.write(exhibit, view, view.defaults)}): {plain(view.caption)} Returns {arrays}."
            ]
    lines += ["", "## Errata", ""]
    lines += [f"- {plain(one.claim)} ({one.address}) {plain(one.told('en'))} [Shown]({one.show})" for one in entries()]
    return "\n".join(lines) + "\n"


def summary(_: Request) -> Response:
    """llms.txt, which health checks ask for too."""
    return Response(told(), media_type="text/plain; charset=utf-8")


def options() -> dict:
    """What gradio is told wherever the studio is served."""
    served = files()
    uploads = [c for exhibit in EXHIBITS for c in exhibit.controls if isinstance(c, Upload)]
    return {
        "theme": theme(),
        "footer_links": ["api", "settings"],
        "favicon_path": str(ASSETS / "favicon.svg"),
        # gradio compresses files by their ending and leaves the page itself as it is.
        "app_kwargs": {
            "routes": [*(kept.route for kept in served.values()), Route("/llms.txt", summary)],
            "middleware": [
                Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5),
                Middleware(Front, files=served),
                Middleware(Gate),
            ],
        },
        "max_file_size": int(1e6 * max(upload.megabytes for upload in uploads)),
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
    }


class Session(state_holder.SessionState):
    """What gradio keeps of a visitor; its own copies the description of all 800 components (0.7 MB, 30 ms) each time."""

    def __init__(self, blocks: gr.Blocks):
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))  # pyright: ignore[reportArgumentType]


def blocks() -> gr.Blocks:
    """The page with its queue: gradio lets all in, and studio/turns.py has them wait."""
    switch_often()
    give_back()
    held()
    state_holder.SessionState = Session
    Endpoint.process_input_files = lambda _, *data: data  # MCP's client would read any file here that a stranger names
    made = page().queue(max_size=1000, default_concurrency_limit=None)
    gc.freeze()  # lives as long as the server: to look at it again and again would stop everybody for a quarter of a second
    gc.enable()
    return made


def launch(host: str | None, port: int | None, share: bool | None, mcp: bool | None) -> None:
    """Serve the studio until it is stopped; None leaves a setting to gradio's environment variables."""
    blocks().launch(
        server_name=host,
        server_port=port,
        share=share,
        mcp_server=mcp,
        inbrowser=sys.stdout.isatty() and not os.environ.get("CI"),
        **options(),
    )


def app() -> ASGIApp:
    """The studio for a server of one's own: `uvicorn --factory studio.serve:app`."""
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(outer, blocks(), "/", root_path=os.environ.get("GRADIO_ROOT_PATH"), **options())
