"""Hostile calls over HTTP: `python -m tests.fuzz [--calls 20000] [--seed 0]`. Every answer must be a result or a sentence of ours.

Every endpoint, every function and event of the page, every control past gradio, uploads, links, files and MCP, with wrong
types, NaN, huge and empty values, odd text, paths of this machine, deep JSON, and bodies that are none or have 5 MB. A sentence is ours where a template of the locale files matches it, or
one of gradio's own below. A call that fails is printed so that it can be sent again.
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from functools import cache

import httpx

from studio.exhibit import Choice, Numbers
from studio.exhibits import EXHIBITS
from studio.theme import ASSETS
from tests.conftest import started

VIEWS = [(exhibit, view) for exhibit in EXHIBITS for view in exhibit.views]
TEXTS = [
    "",
    " ",
    "NaN",
    "-1e999",
    "9" * 400,
    "../../etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "file:///etc/passwd",
    "http://127.0.0.1:1/x",
    "\0",
    "<script>alert(1)</script>",
    "{parameter.__class__}",
    "{0}%s${x}",
    "$x$ [a](javascript:b) |",
    "🔭" * 50,
    "１２",
    "a\u0301" * 20,
    "\u202e" * 9,
    "__import__('os').system('true')",
    "'; DROP TABLE results; --",
    "x" * 20_000,
    "owner/model@" + "0" * 40,
]
NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**63), 10**40, 1e308, -1e308, 5e-324, 0.5, float("nan"), float("inf"), -0.0]
# gradio's own, and what it and pydantic say of a body of another form
OWN = (
    "Session not found|Function not found|File not found|Session hash not found|Not Found|Method Not Allowed|"
    "There was an error parsing the body|Could not parse|Invalid|File not allowed|File cannot be fetched|File too large|"
    "Missing boundary|Bad Request|.*maximum allowed size|Unsupported media type|Not Acceptable|Request payload too large|"
    "No function registered|No function index provided|This API endpoint|Queue is full"
)


@cache
def ours() -> re.Pattern:
    """What any sentence of the studio looks like."""
    found = set()
    for file in (ASSETS / "locale" / "zh").glob("*.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        found |= {text for text in (*told, *told.values()) if text[-1:] in ".:)!?。：）！？"}
    found |= {
        "There is no exhibit {name}. There are {names}.",
        "{exhibit} has no view {name}. It has {names}.",
        "{name} is no setting of {view}. It takes {names}.",
        "The caller is gone.",
        "settings are an object: name -> value.",
        "This takes {count} values, and {came} came: send all of them, or send them by name to gradio_api/call/v2.",
        "The file is none that was sent here: send it first.",
        "This is nothing that the studio's page or its API asks.",
        "This view is not known here: reload the page.",
        "The studio's disk is full: try again later.",
        "A request holds at most 2 MB; files are sent by gradio_api/upload.",
    }
    parts = ("".join(".*?" if i % 2 else re.escape(p) for i, p in enumerate(re.split(r"(\{\w+\})", t))) for t in found)
    return re.compile("|".join(parts), re.S)


def is_ours(text: str) -> bool:
    """Whether a message is a sentence of ours, or one of gradio's that are known."""
    return bool(ours().fullmatch(text) or re.match(OWN, text)) and not text.startswith("Internal error")


class Fuzz:
    """Calls drawn by a seed, and what went wrong.

    computed: share of the calls of a view that takes more than half a second in which it may be computed
    """

    def __init__(self, address: str, seed: int, computed: float = 0.02):
        self.draw, self.computed = random.Random(seed), computed
        self.client = httpx.Client(base_url=address, timeout=120, limits=httpx.Limits(keepalive_expiry=2))
        config = self.client.get("/config").json()
        self.desk = next(
            c["id"] for c in config["components"] if "draw" in str(c["props"].get("server_functions", c["props"]))
        )
        self.submit, self.stop = (
            next(d["id"] for d in config["dependencies"] if any(target[1] == event for target in d["targets"]))
            for event in ("submit", "stop")
        )
        self.endpoints = self.client.get("/gradio_api/info").json()["named_endpoints"]
        self.uploaded = self._send(b"1,2\n3,4\n", "points.csv").json()
        self.asked = ""
        self.client.event_hooks["request"] = [self._keep]
        self.done: Counter = Counter()
        self.said: Counter = Counter()
        self.faults: list[str] = []
        self.spent: Counter = Counter()  # seconds
        self.slowest = (0.0, "")

    def junk(self, depth: int = 0) -> object:
        """Any JSON value."""
        kind = self.draw.random()
        if kind < 0.35:
            return self.draw.choice(TEXTS)
        if kind < 0.65:
            return self.draw.choice(NUMBERS)
        if kind < 0.75 or depth > 3:
            return self.draw.choice([None, True, False, [], {}])
        if kind < 0.78:
            return json.loads("[" * 60 + "]" * 60)
        if kind < 0.88:
            return [self.junk(depth + 1) for _ in range(self.draw.randrange(5))]
        if kind < 0.93:
            named = self.draw.choice([*self.uploaded, *TEXTS[:10]])
            return {
                "path": named,
                "meta": {"_type": self.draw.choice(["gradio.FileData", "x"])},
                "url": self.draw.choice(TEXTS),
            }
        return {self.draw.choice(["path", "__class__", "data", "a"]): self.junk(depth + 1) for _ in range(2)}

    def wrong(self, control: object, default: object) -> object:
        """A value of a control that is often nearly right."""
        kind = self.draw.random()
        if kind < 0.5:
            return self.junk()
        if isinstance(control, Numbers):
            return [self.draw.choice(NUMBERS)] * self.draw.choice([0, 1, 3, 1000])
        if isinstance(control, Choice):
            return [self.draw.choice([*control.options, *TEXTS])] * self.draw.choice([0, 1, 2, 300])
        if isinstance(default, int | float) and kind < 0.8:
            return str(default) if kind < 0.6 else [default]
        return self.draw.choice([*NUMBERS, *TEXTS])

    def settings(self, exhibit, view, by_page: bool) -> dict:
        """The cheapest settings of a view, with one to three of them wrong."""
        values = view.defaults | dict(view.brief)
        names = list(view.settings) if by_page else list(view.controls)
        bad = self.draw.sample(names, min(len(names), self.draw.randint(1, 3)))
        values |= {name: self.wrong(view.settings[name], view.defaults[name]) for name in bad}
        if view.seconds > 0.5 and self.draw.random() >= self.computed:  # that is for other tests
            values[bad[0]] = self.draw.choice([{"a": [1]}, "\0", [[]], [None]])
        if by_page:
            return {exhibit.controls[control]: values[name] for name, control in view.settings.items()}
        return {name: values[name] for name in names}

    # each kind of call returns the texts of refusals in its answer

    def endpoint(self) -> list[str]:
        exhibit, view = self.draw.choice(VIEWS)
        name = f"{exhibit.slug}_{view.slug}".replace("-", "_")
        if self.draw.random() < 0.2:
            name = self.draw.choice([*self.endpoints, "/nosuch", "/../x", "/" + "a" * 300])[1:]
        told = self.endpoints.get(f"/{name}", {"parameters": []})["parameters"]
        given = self.settings(exhibit, view, False)
        data = [given.get(one["parameter_name"], one.get("parameter_default")) for one in told]
        if self.draw.random() < 0.1:
            data = self.draw.choice([data[:-1], [*data, self.junk()], self.junk(), [self.junk() for _ in data]])
        by_name = self.draw.random() < 0.3
        body = given | ({"nosuch": 1} if self.draw.random() < 0.1 else {}) if by_name else {"data": data}
        return self._queued(f"/gradio_api/call/{'v2/' if by_name else ''}{name}", json.dumps(body))

    def tool(self) -> list[str]:
        exhibit, view = self.draw.choice(VIEWS)
        name = self.draw.choice(["run_view", "run_view", "describe_view", "list_views"])
        asked = [exhibit.slug, view.slug, self.settings(exhibit, view, False), self.draw.choice([10, *NUMBERS])]
        for place in range(4):
            if self.draw.random() < 0.15:
                asked[place] = self.junk()
        taken = asked[: {"list_views": 0, "describe_view": 2}.get(name, 4)]
        return self._queued(f"/gradio_api/call/{name}", json.dumps({"data": taken}))

    def raw(self) -> list[str]:
        """A body that is no JSON, or more of it than anybody needs."""
        exhibit, view = self.draw.choice(VIEWS)
        deep = self.draw.choice([60, 900, 5_000])
        inner = self.draw.choice(
            [
                "[" * deep + "]" * deep,
                '{"a":' * deep + "1" + "}" * deep,
                "9" * 5_000,
                '"' + "x" * 5_000_000 + '"',
                "NaN",
            ]
        )
        asked = f'["{exhibit.slug}","{view.slug}",{inner},null,"en"]'
        at, body = self.draw.choice(
            [
                (f"call/{exhibit.slug}_{view.slug}".replace("-", "_"), f'{{"data":[{inner}]}}'),
                (f"call/v2/{exhibit.slug}_{view.slug}".replace("-", "_"), f'{{"seed":{inner}}}'),
                ("call/run_view", f'{{"data":["{exhibit.slug}","{view.slug}",{inner},10]}}'),
                (
                    "component_server",
                    f'{{"data":{asked},"fn_name":"draw","component_id":{self.desk},"session_hash":"a"}}',
                ),
                ("queue/join", f'{{"data":[{{"ask":{asked}}}],"fn_index":{self.submit},"session_hash":{inner}}}'),
                ("mcp/", f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{inner}}}'),
            ]
        )
        if self.draw.random() < 0.3:
            body = self.draw.choice(["", "{", "[]", "null", body[: len(body) // 2], "\ufeff" + body, "\0", inner])
        if at.startswith("call/"):
            return self._queued(f"/gradio_api/{at}", body)
        accept = {"accept": "application/json, text/event-stream"} if at == "mcp/" else {}
        return self._errors(self.client.post(f"/gradio_api/{at}", content=body, headers=JSON | accept))

    def halt(self) -> list[str]:
        """The page's stop, and gradio's own ways to end a run, of runs that are or are not there."""
        session = self.draw.choice(["fuzz", "nosuch", ""])
        path, body = self.draw.choice(
            [
                ("queue/join", {"data": [], "fn_index": self.stop, "session_hash": session}),
                ("cancel", {"session_hash": session, "fn_index": self.submit, "event_id": self.draw.choice(TEXTS)}),
                ("reset", {"event_id": self.draw.choice(TEXTS)}),
            ]
        )
        if self.draw.random() < 0.5:
            body[self.draw.choice(list(body))] = self.junk()
        return self._errors(self.client.post(f"/gradio_api/{path}", content=json.dumps(body), headers=JSON))

    def mcp(self) -> list[str]:
        exhibit, view = self.draw.choice(VIEWS)
        arguments = {
            "exhibit": exhibit.slug,
            "view": view.slug,
            "settings": self.settings(exhibit, view, False),
            self.draw.choice(["numbers", "x"]): self.junk(),
        }
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "run_view", "arguments": arguments},
        }
        if self.draw.random() < 0.3:
            body[self.draw.choice(list(body))] = self.junk()
        accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        answer = self.client.post("/gradio_api/mcp/", content=json.dumps(body), headers=accept)
        self._status(answer)
        said = re.findall(r'"text":"((?:[^"\\]|\\.)*)"[^}]*}],"isError":true', answer.text)
        said = [json.loads(f'"{text}"').removeprefix("Error executing tool run_view: ") for text in said]
        return [text for text in said if "validation error" not in text.lower() and "expected" not in text.lower()]

    def server(self) -> list[str]:
        exhibit, view = self.draw.choice(VIEWS)
        name = self.draw.choice(
            ["draw"] * 8 + ["arrive", "fetch_npz", "fetch_notebook", "fetch_art", "run_checks", "nosuch", "__init__"]
        )
        asked = self._asked(exhibit, view)
        asked = {
            "draw": asked if self.draw.random() < 0.6 else [*asked, self.draw.choice([True, True, False, self.junk()])],
            "fetch_notebook": [*asked, self.draw.choice(TEXTS)],
            "arrive": ["?" + self._query(exhibit, view), "en"],
            "run_checks": [self.draw.choice([*TEXTS, exhibit.slug.upper(), None]), self.junk()],
        }.get(name, self.junk())
        body = {"data": asked, "fn_name": name, "component_id": self.desk, "session_hash": "fuzz"}
        if self.draw.random() < 0.05:
            body[self.draw.choice(list(body))] = self.junk()
        answer = self.client.post("/gradio_api/component_server", content=json.dumps(body), headers=JSON)
        self._status(answer)
        return self._errors(answer)

    def page(self) -> list[str]:
        exhibit, view = self.draw.choice(VIEWS)
        asked = self.junk() if self.draw.random() < 0.1 else {"ask": self._asked(exhibit, view)}
        session = f"fuzz{self.draw.random()}"
        body = {"data": [asked], "fn_index": self.submit, "session_hash": session}
        joined = self.client.post("/gradio_api/queue/join", content=json.dumps(body), headers=JSON)
        self._status(joined)
        if joined.status_code != 200:
            return self._errors(joined)
        said = []
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as lines:
            for line in lines.iter_lines():
                found = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                output = found.get("output") or {}
                said += [output["error"] or "null"] if "error" in output and not found.get("success", True) else []
                for one in output.get("data") or []:
                    said += re.findall(r'"error": "((?:[^"\\]|\\.)+)"', one) if isinstance(one, str) else []
                if found.get("msg") in ("process_completed", "close_stream", "unexpected_error"):
                    break
        return [json.loads(f'"{text}"') for text in said]

    def link(self) -> list[str]:
        exhibit, view = self.draw.choice(VIEWS)
        answer = self.client.get("/?" + self._query(exhibit, view))
        self._status(answer)
        return [] if answer.status_code == 200 and "studioReady" in answer.text else [answer.text[:200]]

    def file(self) -> list[str]:
        path = self.draw.choice([*TEXTS[:12], "app.py", "assets/../app.py", "%2e%2e/%2e%2e/etc/passwd", "C:\\x"])
        kind = self.draw.choice(
            [
                "file=",
                "static/",
                "stream/",
                "proxy=",
                "custom_component/",
                "assets/",
                "svelte/",
                "deep_link?session_hash=",
            ]
        )
        answer = self.client.get(
            f"/gradio_api/{kind}{httpx.QueryParams({'x': path})['x']}" if "\0" not in path else f"/gradio_api/{kind}%00"
        )
        self._status(answer)
        return (
            [] if "root:" not in answer.text and "argparse" not in answer.text else ["a file of the machine was read"]
        )

    def upload(self) -> list[str]:
        name = self.draw.choice(
            ["points.csv", "../../up.csv", "", "a/b.csv", "nul\0.csv", "x" * 300 + ".csv", "🔭.npy", ".csv", "con.wav"]
        )
        return self._errors(self._send(self.draw.randbytes(self.draw.choice([0, 1, 100, 100_000])), name))

    def _asked(self, exhibit, view) -> list:
        """What the page asks of a view, often with settings that are pinned."""
        pinned = self.settings(exhibit, view, True) if self.draw.random() < 0.3 else None
        asked = [exhibit.slug, view.slug, self.settings(exhibit, view, True), pinned, self.draw.choice(["en", "zh"])]
        if self.draw.random() < 0.1:
            asked[self.draw.randrange(5)] = self.junk()
        return asked

    def _send(self, data: bytes, name: str) -> httpx.Response:
        return self.client.post("/gradio_api/upload", files={"files": (name, data)})

    def _query(self, exhibit, view) -> str:
        names = [
            "tab",
            "view",
            "pin",
            "story",
            "lang",
            "sweep",
            *view.settings,
            *(f"pin.{name}" for name in view.settings),
        ]
        pairs = {"tab": exhibit.slug, "view": view.slug}
        pairs |= {self.draw.choice(names): str(self.draw.choice([*TEXTS[:20], *NUMBERS])) for _ in range(3)}
        return str(httpx.QueryParams(pairs))

    def _queued(self, path: str, body: str) -> list[str]:
        sent = self.client.post(path, content=body, headers=JSON)
        self._status(sent)
        if sent.status_code != 200:
            return self._errors(sent)
        answer = self.client.get(f"{path.replace('/v2', '')}/{sent.json()['event_id']}")
        self._status(answer)
        if "event: error" not in answer.text:
            return []
        said = json.loads(answer.text.rsplit("data: ", 1)[1])
        return [said.get("error") or "null" if isinstance(said, dict) else str(said)]

    def _keep(self, request: httpx.Request) -> None:
        if request.method == "POST":
            self.asked = f"{request.url.path} {request.read()[:600]!r}"

    def _status(self, answer: httpx.Response) -> None:
        if answer.status_code >= 500:
            raise AssertionError(f"{answer.status_code} {answer.text[:200]}")

    def _errors(self, answer: httpx.Response) -> list[str]:
        self._status(answer)
        try:
            said = answer.json()
            said = json.loads(said) if isinstance(said, str) and said[:1] in "{[" else said
        except ValueError:
            return [answer.text] if answer.status_code >= 400 else []
        if answer.status_code == 422:
            return []  # pydantic names the field
        if not isinstance(said, dict):
            return []
        return [text for text in (said.get("error"), said.get("detail")) if isinstance(text, str) and text]

    def call(self, kind: str = "") -> None:
        """One call, of that kind or any."""
        kind = kind or self.draw.choices([*KINDS], [*KINDS.values()])[0]
        began = time.perf_counter()
        try:
            for text in getattr(self, kind)():
                self.said[kind] += 1
                if not is_ours(text):
                    raise AssertionError(f"says {text[:300]!r}")
        except Exception as fault:
            said = f"call {self.done.total()} {kind}: {type(fault).__name__} {str(fault)[:400]}"
            self.faults.append(f"{said} of {self.asked}")
            print(self.faults[-1], flush=True)
        self.done[kind] += 1
        self.spent[kind] += time.perf_counter() - began
        self.slowest = max(self.slowest, (time.perf_counter() - began, f"call {self.done.total()} {kind}"))


JSON = {"content-type": "application/json"}
KINDS = {
    "endpoint": 35,
    "tool": 10,
    "mcp": 5,
    "server": 25,
    "page": 8,
    "link": 4,
    "file": 4,
    "upload": 3,
    "raw": 4,
    "halt": 2,
}


def main() -> int:
    """Start a studio and call it; 1 where an answer was no sentence."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    studio = started("--mcp")
    fuzz = Fuzz(next(studio), options.seed)
    began = time.monotonic()
    try:
        while fuzz.done.total() < options.calls:
            fuzz.call()
            if fuzz.done.total() % 500 == 0:
                print(fuzz.done.total(), f"{time.monotonic() - began:.0f} s", len(fuzz.faults), flush=True)
    finally:
        studio.close()
    print(
        f"{fuzz.done.total():,} calls in {time.monotonic() - began:.0f} s: {dict(fuzz.done)}; refused {dict(fuzz.said)}; "
        f"seconds { ({kind: round(spent) for kind, spent in fuzz.spent.items()}) }; slowest {fuzz.slowest}"
    )
    kinds = Counter(re.sub(r"call \d+|\d+", "", fault)[:160] for fault in fuzz.faults)
    print(
        f"{len(fuzz.faults)} answers are no sentence of ours",
        *(f"{count} x {text}" for text, count in kinds.most_common(40)),
        sep="\n",
    )
    return bool(fuzz.faults)


if __name__ == "__main__":
    sys.exit(main())
