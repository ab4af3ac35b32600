"""The studio as a crawler, a proxy, a Space and an MCP client meet it."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
import yaml
from starlette.formparsers import MultiPartException
from starlette.testclient import TestClient

from studio import serve, uploads
from studio.exhibits import EXHIBITS
from studio.gate import Gate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client():
    """The studio as an ASGI application, with MCP, without a socket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_MCP_SERVER", "True")
        patch.setenv("SPACE_ID", "someone/studio")
        with TestClient(serve.app(), base_url="https://studio.example") as client:
            yield client


def head(client, query, **headers):
    return client.get("/" + query, headers=headers).text.split("</head>")[0]


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.slug)
def test_a_link_previews_its_own_exhibit(client, exhibit):
    view = exhibit.views[-1]
    said = head(client, f"?tab={exhibit.slug}&view={view.slug}")
    titles = re.findall(r'<meta property="og:title" content="([^"]*)"', said)
    assert len(titles) == 1 and titles == re.findall(r"<title>(.*)</title>", said)
    assert len(re.findall(r'name="description"', said)) == len(re.findall('"og:description"', said)) == 1
    (picture,) = re.findall(r'<meta property="og:image" content="https://studio.example(/[^"]*)"', said)
    found = client.get(picture)
    assert found.headers["content-type"] == "image/png" and found.content[:4] == b"\x89PNG"


def test_the_opening_page_has_a_preview_in_both_languages(client):
    said = [re.search(r'name="description" content="([^"]*)"', head(client, query))[1] for query in ("", "?lang=zh")]
    assert "explored by hand" in said[0] and re.search(r"[\u4e00-\u9fff]", said[1])


def test_a_query_cannot_write_into_the_page(client):
    said = head(client, '?tab=rope&view="><script>alert(1)</script>&lang="><b>')
    assert "<script>alert(1)" not in said
    said = client.get("/", headers={"host": 'x"><script>alert(1)</script>'}).text
    assert "<script>alert(1)" not in said


def test_the_link_to_copy_on_a_space_is_the_outer_one(client):
    assert 'space:"someone/studio"' in head(client, "")


def test_answers_carry_the_headers_of_a_careful_site_and_may_be_framed(client):
    for path in ("/", "/llms.txt", "/config", "/favicon.ico", "/nosuch"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and "referrer-policy" in headers, path
        assert "x-frame-options" not in headers


def test_llms_txt_names_every_view(client):
    text = client.get("/llms.txt").text
    assert all(f"?tab={exhibit.slug}&view={view.slug}" in text for exhibit in EXHIBITS for view in exhibit.views)
    assert "$" not in text and "\\" not in text


@pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "../app.py", "assets/studio.css", "/proc/self/environ"])
def test_no_file_of_this_machine_is_served(client, path):
    for address in (f"/gradio_api/file={path}", f"/file={path}", f"/static/{path}", f"/assets/{path}"):
        assert client.get(address).status_code >= 400


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "process_recording"),
        ("GET", "proxy=http://127.0.0.1:1/x"),
        ("HEAD", "proxy=https://127.0.0.1:1/x"),
        ("GET", "file=http://127.0.0.1:1/x"),
        ("GET", "file=https%3A//127.0.0.1:1/x"),
        ("GET", "file/http://127.0.0.1:1/x"),
        ("GET", "deep_link?session_hash=x"),
    ],
)
def test_what_gradio_offers_and_nobody_needs_is_closed(client, method, path):
    answer = client.request(method, f"/gradio_api/{path}")
    assert answer.status_code == 404 and (method == "HEAD" or answer.json() == {"detail": "Not Found"})


def test_a_request_is_bounded_but_for_an_upload(client):
    said = {"detail": "A request holds at most 2 MB; files are sent by gradio_api/upload."}
    body = b'{"data": ["' + b"x" * 2_100_000 + b'"]}'

    def pieces():
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for path in ("call/run_view", "component_server", "queue/join", "mcp/", "nosuch"):
        for content in (body, pieces()):  # with and without content-length
            answer = client.post(f"/gradio_api/{path}", content=content, headers={"content-type": "application/json"})
            if path != "nosuch" or content is body:  # nobody reads what is sent there
                assert answer.status_code == 413 and answer.json() == said, path
    assert client.post("/gradio_api/upload", files={"files": ("a.csv", body)}).status_code == 200


def test_uploads_leave_room_on_the_disk(client, monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "MOST", 10_000_000)
    monkeypatch.setattr(uploads, "get_upload_folder", lambda: str(tmp_path))

    def send(chunked=False):
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.npy"\r\n\r\n' + b"1" * 3_000_000
        pieces = (body, b"\r\n--x--\r\n")
        headers = {"content-type": "multipart/form-data; boundary=x"}
        return client.post("/gradio_api/upload", content=iter(pieces) if chunked else b"".join(pieces), headers=headers)

    folder = Path(client.app.routes[-1].app.uploaded_file_dir)
    assert send().status_code == send(True).status_code == 200
    (tmp_path / "held").write_bytes(bytes(8_000_000))
    before = {*folder.iterdir()}
    for chunked in (False, True):
        answer = send(chunked)
        assert answer.status_code == 507 and answer.json() == {"detail": "The studio's disk is full: try again later."}
    assert {*folder.iterdir()} == before  # no half of a file is left
    for number in range(3_000):  # a block each
        (tmp_path / f"{number}").touch()
    assert uploads.held() > 20_000_000
    monkeypatch.setattr(uploads, "KEPT", -3_601)
    assert uploads.held() >= 0 and not [*tmp_path.iterdir()]  # what is too old goes


def test_what_is_left_of_an_upload_whose_sender_is_gone_is_deleted(tmp_path):
    async def leave():
        sent = iter([{"type": "http.request", "body": b"1" * 100, "more_body": True}, {"type": "http.disconnect"}])

        async def receive():
            return next(sent)

        async def reads(scope, receive, send):  # as gradio's parser does
            try:
                while (await receive())["type"] != "http.disconnect":
                    pass
            except MultiPartException:
                return
            raise AssertionError("gradio would leave the file")

        scope = {"type": "http", "path": "/gradio_api/upload", "headers": [], "client": ("1.2.3.4", 1)}
        await Gate(reads)(scope, receive, None)

    anyio.run(leave)


def test_a_fault_of_ours_is_no_wrong_question(client, monkeypatch):
    def breaks(_):
        raise KeyError("a table of ours")

    monkeypatch.setattr("studio.page.link.parse_qsl", breaks)
    config = client.get("/config").json()
    desk = next(c["id"] for c in config["components"] if "fetch_npz" in str(c["props"]))
    asked = {"data": ["?tab=rope", "en"], "fn_name": "arrive", "component_id": desk, "session_hash": "a"}
    with pytest.raises(RuntimeError, match="arrive"):  # which a server answers with 500
        client.post("/gradio_api/component_server", json=asked)


def test_an_answer_is_compressed_for_a_browser_that_reads_brotli(client):
    config = client.get("/config").json()
    desk = next(c["id"] for c in config["components"] if "fetch_npz" in str(c["props"]))
    asked = {
        "data": ["rope", "similarity", {}, None, "zh"],
        "fn_name": "draw",
        "component_id": desk,
        "session_hash": "a",
    }
    made = {}
    for coding in ("br", "identity"):
        answer = client.post("/gradio_api/component_server/", json=asked, headers={"Accept-Encoding": coding})
        assert answer.headers.get("content-encoding", "identity") == coding
        made[coding] = {
            name: said for name, said in json.loads(answer.json()).items() if name not in ("run", "seconds")
        }
    assert made["br"] == made["identity"] and made["br"]["panels"]


def test_replicas_are_left_out_while_they_do_not_answer(client):
    read = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    routes = yaml.safe_load(read["configs"]["routes"]["content"])["http"]
    (shared,) = (service["loadBalancer"] for service in routes["services"].values())
    assert {re.sub(r"\W+", " ", one["url"]).split()[1] for one in shared["servers"]} <= {
        name.replace("-", " ").split()[0] for name in read["services"]
    }
    assert client.get(shared["healthCheck"]["path"]).status_code == 200


def test_threads_wait_passively_however_the_studio_is_started():
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GRADIO_"))}
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import studio, os; print(os.environ['OMP_WAIT_POLICY'], os.environ['GRADIO_TEMP_DIR'])",
        ],
        env=clean,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split()[0] == "PASSIVE" and said.stdout.split()[1].endswith("studio-uploads")


def test_a_caller_of_mcp_is_known_by_its_address():
    async def ask(headers):
        seen = []

        async def app(scope, receive, send):
            seen.append(dict(scope["headers"]).get(b"x-forwarded-for"))

        await Gate(app)({"type": "http", "path": "/", "headers": headers, "client": ("1.2.3.4", 1)}, None, None)
        return seen

    assert anyio.run(ask, []) == [b"1.2.3.4"]  # gradio's inner client hands it on
    assert anyio.run(ask, [(b"x-forwarded-for", b"5.6.7.8")]) == [b"5.6.7.8"]


def test_a_sub_path_is_served(monkeypatch):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/studio-below")
    with TestClient(serve.app(), base_url="https://studio.example") as client:
        said = client.get("/").text
        assert "https://studio.example/studio-below/studio/studio-" in said
        assert re.search(r'"root": ?"[^"]*/studio-below"', said)


def test_mcp_offers_three_tools(client):
    pytest.importorskip("mcp")

    def ask(method, **parameters):
        answer = client.post(
            "/gradio_api/mcp/",
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters},
            headers={"accept": "application/json, text/event-stream"},
        )
        return json.loads(answer.text.split("data: ", 1)[1])["result"]

    tools = ask("tools/list")["tools"]
    assert [tool["name"].removeprefix("studio_") for tool in tools] == ["list_views", "describe_view", "run_view"]
    assert len(json.dumps(tools)) < 4_000


def test_an_mcp_client_runs_a_view(studio_with_mcp):
    pytest.importorskip("mcp")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def visit():
        async with (
            streamable_http_client(f"{studio_with_mcp}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            ran = await session.call_tool(
                "run_view", {"exhibit": "rope", "view": "similarity", "settings": {"head_dim": 64}}
            )
            refused = await session.call_tool("run_view", {"exhibit": "rope", "view": "nosuch"})
            return ran, refused

    with ThreadPoolExecutor(1) as thread:  # the browser tests' driver has a loop of its own in this one
        ran, refused = thread.submit(anyio.run, visit).result()
    link = json.loads(ran.content[0].text)["link"]
    assert link.startswith((f"{studio_with_mcp}/?tab=rope", "https://huggingface.co/spaces/someone/studio?tab=rope"))
    assert "head_dim=64" in link
    assert len(ran.content[0].text) < 40_000
    assert refused.isError and "rope has no view" in refused.content[0].text


def test_the_front_matter_is_what_the_hub_takes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    matter = dict(re.findall(r"^(\w+): *(.*)$", text.split("---")[1], re.M))
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert f"gradio=={matter['sdk_version']}" in required
    assert matter["sdk"] == "gradio" and (ROOT / matter["app_file"]).is_file()
    assert len(matter["short_description"]) <= 60
    assert {"models", "thumbnail", "suggested_hardware"} <= matter.keys()


def test_the_page_answers_while_it_is_served(studio):
    with urllib.request.urlopen(f"{studio}/llms.txt", timeout=30) as answer:
        assert answer.status == 200
