"""The documents cannot lie: their commands parse, their links lead somewhere, their code runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
import yaml
from safetensors.torch import save_file

from gradience.cli.main import COMMANDS, group
from gradience.mirror import config
from gradience.policy import catalogue
from gradience.recording.recording import Options

ROOT = Path(__file__).parents[1]
MANUAL = ROOT / "docs" / "USER_MANUAL.md"
SINKS = ROOT / "docs" / "writing-a-sink.md"
GUIDES = [ROOT / "README.md", ROOT / "QUICK_REFERENCE.md", MANUAL, SINKS, ROOT / "docs" / "training-stacks.md"]
WITHIN = ("docs", "examples", "gradience", "integrations")
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(path for folder in WITHIN for path in (ROOT / folder).rglob("*.md"))})

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)  # what a command printed may name another in part
INLINE_COMMAND = re.compile(r"`(gradience [^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def relative(path: Path) -> str:
    """The path as it reads in a test's name."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, *languages: str) -> list[str]:
    """The bodies of a document's fenced blocks in one of `languages`."""
    return [body for language, body in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def commands(path: Path) -> list[str]:
    """Every `gradience` command line of a document, in shell blocks and inline."""
    text = path.read_text(encoding="utf-8")
    shell = "\n".join(blocks(path, "bash", "console", "sh")).replace("\\\n", " ")
    lines = [line.removeprefix("$ ").removeprefix("cd runs && ").strip() for line in shell.splitlines()]
    return [line for line in lines if line.startswith("gradience ")] + INLINE_COMMAND.findall(FENCED.sub("", text))


ALL_COMMANDS = sorted({(relative(path), line) for path in GUIDES for line in commands(path)})


@pytest.mark.parametrize(("document", "line"), ALL_COMMANDS)
def test_a_documented_command_parses(document: str, line: str) -> None:  # noqa: ARG001 - names the test
    """Commands and options exist and take the values that the documents give them; nothing is run."""
    _, first, *rest = shlex.split(line, comments=True)
    command, arguments = (group, [first, *rest]) if first.startswith("-") else (find(first), rest)
    if isinstance(command, click.Group) and command is not group and arguments and arguments[0] in command.commands:
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if not arguments:
        return  # a mention, not a call
    try:
        command.make_context(first, arguments)
    except click.exceptions.Exit as done:  # --help and --version end a parse, well
        assert done.exit_code == 0  # noqa: PT017 - this exit is what is looked at


def find(name: str) -> click.Command:
    """The command of that name."""
    command = group.get_command(click.Context(group), name)
    assert command is not None, f"there is no command {name!r}"
    return command


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_manual_names_every_option(name: str) -> None:
    """A command's section of the manual is complete: an option that is added is documented."""
    section = MANUAL.read_text(encoding="utf-8").split(f"### gradience {name}\n")[1].split("\n### ")[0]
    command = find(name)
    parts = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    params = [param for part in parts for param in part.params]
    shown = [param for param in params if isinstance(param, click.Option) and not param.hidden]
    options = [max(option.opts, key=len) for option in shown]
    assert [option for option in options if f"`{option}" not in section] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document: Path) -> None:
    """Files exist beside the document that links to them, and so do the headings behind a #."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    links = [link or image for link, image in LINK.findall(text)]
    assert [link for link in links if not link.startswith(("http://", "https://")) and not _is(document, link)] == []


def _is(document: Path, link: str) -> bool:
    place, _, anchor = link.partition("#")
    target = (document.parent / place).resolve() if place else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, by GitHub's rule."""
    headings = HEADING.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with an adapter in `out/checkpoint-500`, as the documents' examples have it."""
    adapter = tmp_path / "out" / "checkpoint-500"
    adapter.mkdir(parents=True)
    config = '{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}'
    (adapter / "adapter_config.json").write_text(config, encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {f"{name}.lora_A.weight": (8, 64), f"{name}.lora_B.weight": (64, 8)}
    factors = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    save_file(factors, adapter / "adapter_model.safetensors")
    return tmp_path


@pytest.mark.parametrize("document", GUIDES, ids=relative)
def test_python_examples_run(document: Path, workplace: Path) -> None:
    """The Python of a document runs from its first block to its last, as a reader would type it."""
    program = "\n".join(blocks(document, "python"))
    done = subprocess.run([sys.executable, "-c", program], cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


YAML = [(document, body) for document in GUIDES for body in blocks(document, "yaml")]


@pytest.mark.parametrize(("document", "body"), YAML, ids=[relative(document) for document, _ in YAML])
def test_yaml_is_read_as_what_it_stands_for(document: Path, body: str, tmp_path: Path) -> None:
    """A list of sinks, a policy, the options of a callback; what is not ours is YAML at least."""
    told = yaml.safe_load(body)
    if isinstance(told, list):
        assert len(config.parse(body, document.name, {}).wishes) == len(told)
    elif told.keys() <= catalogue.shipped().rules.keys():
        (tmp_path / "policy.yaml").write_text(body, encoding="utf-8")
        assert catalogue.load(tmp_path / "policy.yaml") != catalogue.shipped()
    elif "gradience" in told:
        Options(**told["gradience"]).check()
    else:
        assert "kind" in told


def test_a_sink_is_packaged_as_the_document_says() -> None:
    """Its TOML is whole, and the entry point names the file and the class that the document shows."""
    tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")
    (packaging,) = blocks(SINKS, "toml")
    (entry,) = tomllib.loads(packaging)["project"]["entry-points"]["gradience.sinks"].values()
    module, _, name = entry.partition(":")
    text = SINKS.read_text(encoding="utf-8")
    assert f"`{module}.py`:" in text
    assert f"class {name}:" in blocks(SINKS, "python")[0]
    assert f"--to {entry}" in text


def test_the_demo_is_the_golden_path() -> None:
    """`make demo` runs the commands that the README shows, in that order."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = re.findall(r"^\t\$\(call run,(.+)\)$", makefile, re.MULTILINE)
    assert len(run) == 7
    shown = "\n".join(blocks(ROOT / "README.md", "bash"))
    lines = [line for line in shown.splitlines() if line in run]
    assert lines == run
