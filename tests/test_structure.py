"""The house: imports run one way, engines know no page, no file is a heap."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("engines", "studio") for path in (ROOT / folder).rglob("*.py"))


def name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(path): path for path in FILES}


def imported(path, everywhere=True):
    """The modules of ours, and the packages of others, that a file imports; at its top alone where not `everywhere`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            yield from (inner[one] if inner[one] in MODULES else node.module for one in inner)


def test_no_file_is_longer_than_600_lines():
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 600}
    assert not long


def test_engines_know_neither_page_nor_plots():
    for path in FILES:
        if path.is_relative_to(ROOT / "engines"):
            packages = {module.split(".")[0] for module in imported(path)}
            assert not packages & {"gradio", "plotly", "studio"}, path


def test_exhibits_know_nothing_of_the_page():
    for path in FILES:
        if path.is_relative_to(ROOT / "studio" / "exhibits"):
            assert not set(imported(path)) & {
                "studio.page",
                "studio.serve",
                "studio.api",
                "studio.present",
                "gradio",
            }, path


def test_a_subject_builds_on_no_other_but_shared_models():
    """What one subject's engine takes from another is named here, each with its reason."""
    allowed = {
        ("flow", "ddcm"),  # a visitor's picture is read and cut as there
        ("flow", "diffusion"),  # its plane targets are the exact mixtures
        ("hubness", "diffusion"),  # pictures of its latents are made by the samplers
        ("softmax", "objectives"),  # the losses show ZLPR beside them
        ("transport", "diffusion"),  # its laws of the plane are those targets
    }
    found = set()
    subjects = {path.name for path in (ROOT / "engines").iterdir() if path.is_dir()} - {"recipes", "__pycache__"}
    for path in FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] == "engines" and len(parts) == 3 and parts[1] in subjects:
            others = {m.split(".")[1] for m in imported(path) if m.startswith("engines.")} & subjects - {parts[1]}
            found |= {(parts[1], other) for other in others}
    assert found == allowed


def test_there_is_no_circle():
    after = {
        module: {m for m in imported(path, everywhere=False) if m in MODULES and m != module}
        for module, path in MODULES.items()
    }
    done, open_ = set(), []

    def visit(module):
        if module in done:
            return
        assert module not in open_, " -> ".join([*open_[open_.index(module) :], module])
        open_.append(module)
        for other in sorted(after[module]):
            visit(other)
        open_.pop()
        done.add(module)

    for module in sorted(MODULES):
        visit(module)


def test_one_version_is_named_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    latest = re.search(r"^## ([\d.]+),", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert cited and latest and project == cited[1] == latest[1]


def test_both_readmes_show_the_same_commands():
    blocks = [
        re.findall(r"```(?:bash|python)\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
        for name in ("README.md", "README.zh.md")
    ]
    assert sorted(blocks[0]) == sorted(blocks[1])
