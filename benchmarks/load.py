"""Many visitors at once, on loopback: python -m benchmarks.load [--visitors 32] [--minutes 10].

Visitors open pages, drag a slider, call the API, run something long (to its end, or leave in the middle) and upload, with a second
of thought between. Said at the end, beside the same acts alone: the median and 95th percentile of each act, answers that are
server errors, resident memory and threads of the server each minute, what it still computes when all have left, and whether
their files are gone (here they are kept for a minute). The machine must have nothing else to do.
"""

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from pathlib import Path

import httpx

from studio.exhibits import EXHIBITS
from studio.present import shown_values

ROOT = Path(__file__).parents[1]
ROPE = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
LONG = next((e, v) for e in EXHIBITS for v in e.views if e.slug == "diffusion" and v.streams)


class Studio:
    """A running studio, and what was measured of it."""

    def __init__(self, address: str, client: httpx.AsyncClient):
        self.address, self.client = address, client
        self.took: dict[str, list[float]] = defaultdict(list)
        self.answers: Counter = Counter()
        self.broken: list[str] = []

    async def learn(self) -> None:
        """Find the page's handlers as its browser half does."""
        config = (await self.client.get(f"{self.address}/config")).json()
        self.desk = next(
            c["id"] for c in config["components"] if "draw" in str(c["props"].get("server_functions", c["props"]))
        )
        self.submit = next(d["id"] for d in config["dependencies"] if any(t[1] == "submit" for t in d["targets"]))

    async def timed(self, act: str, visitor: str) -> None:
        """One act of a visitor."""
        started = time.perf_counter()
        try:
            await getattr(self, act)(visitor)
        except Exception as fault:
            self.broken.append(f"{act}: {fault!r:.120}")
        self.took[act].append(time.perf_counter() - started)

    async def _sent(self, method: str, path: str, **more) -> httpx.Response:
        answer = await self.client.request(method, f"{self.address}{path}", **more)
        self.answers[answer.status_code] += 1
        return answer

    async def open(self, visitor: str) -> None:
        """A page, as a link shows it."""
        await self._sent("GET", f"/?tab={random.choice(EXHIBITS).slug}")

    async def drag(self, visitor: str) -> None:
        """A redraw past the queue."""
        view = ROPE.view("similarity")
        values = shown_values(ROPE, view, view.defaults) | {"head_dim": 2 * random.randint(1, 256)}
        asked = {"data": ["rope", "similarity", values, None, "en"], "component_id": self.desk, "fn_name": "draw"}
        answer = await self._sent("POST", "/gradio_api/component_server", json=asked | {"session_hash": visitor})
        assert '"panels": [' in answer.json(), answer.text[:100]

    async def call(self, visitor: str) -> None:
        """A short call of the API."""
        asked = ["rope", "similarity", {"head_dim": 2 * random.randint(1, 256)}, 100]
        sent = await self._sent("POST", "/gradio_api/call/run_view", json={"data": asked})
        answer = await self._sent("GET", f"/gradio_api/call/run_view/{sent.json()['event_id']}")
        assert "event: complete" in answer.text, answer.text[:100]

    async def upload(self, visitor: str) -> None:
        """A file of 100 kB."""
        await self._sent("POST", "/gradio_api/upload", files={"files": ("points.csv", b"1,2,3\n" * 17_000)})

    async def run(self, visitor: str, most: float = 120.0) -> None:
        """A long run, to its end or until the visitor has had enough."""
        exhibit, view = LONG
        values = shown_values(exhibit, view, view.defaults) | {"seed": random.randrange(9_999)}
        asked = {"ask": [exhibit.slug, view.slug, values, None, "en"]}
        joined = {"data": [asked], "fn_index": self.submit, "session_hash": visitor}
        await self._sent("POST", "/gradio_api/queue/join", json=joined)
        end = time.monotonic() + most
        async with self.client.stream("GET", f"{self.address}/gradio_api/queue/data?session_hash={visitor}") as lines:
            self.answers[lines.status_code] += 1
            async for line in lines.aiter_lines():
                if "process_completed" in line or time.monotonic() > end:
                    return

    async def leave(self, visitor: str) -> None:
        """A long run that its visitor leaves after two seconds."""
        await self.run(visitor, 2.0)


ACTS = {"open": 2, "drag": 10, "call": 4, "upload": 1, "run": 1, "leave": 1}


def resources(process: int) -> tuple[float, int, float]:
    """Resident megabytes, threads and seconds of processor of a process."""
    said = Path(f"/proc/{process}/status").read_text()
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    times = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    seconds = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    return int(lines["VmRSS"].split()[0]) / 1e3, int(lines["Threads"]), seconds


async def visit(studio: Studio, end: float, number: int) -> None:
    """A visitor's acts until the end."""
    draw, session = random.Random(number), uuid.uuid4().hex[:10]
    while time.monotonic() < end:
        act = draw.choices([*ACTS], [*ACTS.values()])[0]
        session = uuid.uuid4().hex[:10] if act == "open" else session
        await studio.timed(act, session)
        await asyncio.sleep(draw.uniform(0.5, 1.5))


async def measure(process: int, address: str, visitors: int, minutes: float, folder: str) -> None:
    """Alone, together, and after."""
    # an idle connection is left before the server leaves it (after 5 s), as a browser would send again what was lost between
    limits = httpx.Limits(max_connections=4 * visitors, keepalive_expiry=2)
    async with httpx.AsyncClient(timeout=180, limits=limits) as client:
        alone = Studio(address, client)
        await alone.learn()
        for act in ("open", "drag", "call", "upload", "run"):
            for _ in range(1 if act == "run" else 10):
                await alone.timed(act, uuid.uuid4().hex[:10])
        studio = Studio(address, client)
        await studio.learn()
        began = time.monotonic()
        tasks = [asyncio.create_task(visit(studio, began + 60 * minutes, n)) for n in range(visitors)]
        held = []
        print("| minute | resident, MB | threads |\n|---|---|---|", flush=True)
        while any(not task.done() for task in tasks):
            memory, threads, _ = resources(process)
            held.append(memory)
            print(f"| {(time.monotonic() - began) / 60:.1f} | {memory:.0f} | {threads} |", flush=True)
            await asyncio.wait(tasks, timeout=min(60, 15 * minutes))
    await asyncio.sleep(20)
    before = resources(process)[2]
    await asyncio.sleep(5)
    busy = (resources(process)[2] - before) / 5
    print("\n| act | alone, s | median, s | 95 %, s | count |\n|---|---|---|---|---|")
    for act in ACTS:
        times, calm = sorted(studio.took[act]), alone.took[act]
        if times:
            row = (statistics.median(calm) if calm else float("nan"), statistics.median(times))
            print(f"| {act} | {row[0]:.3f} | {row[1]:.3f} | {times[int(0.95 * (len(times) - 1))]:.3f} | {len(times)} |")
    faults = Counter(text.split(":")[0] for text in studio.broken + alone.broken)
    print(f"\nanswers {dict(studio.answers)}; broken {dict(faults)} {(studio.broken + alone.broken)[:3]}")
    print(f"25 s after the last visitor left the server uses {busy:.2f} of a core")
    print(f"resident memory at the end over that after a minute: {held[-1] / held[min(1, len(held) - 1)]:.2f}")
    for _ in range(13):
        left = sum(file.is_file() for file in Path(folder).rglob("*"))
        if not left:
            break
        await asyncio.sleep(10)
    print(f"files of visitors that are left: {left}")


def main() -> None:
    """Start a studio with a folder of its own for uploads, and visit it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"GRADIO_TEMP_DIR": folder, "STUDIO_FILE_SECONDS": "60"},
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(480):
                try:
                    httpx.get(f"{address}/llms.txt", timeout=5)
                    break
                except httpx.HTTPError:
                    time.sleep(0.25)
            asyncio.run(measure(server.pid, address, options.visitors, options.minutes, folder))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
