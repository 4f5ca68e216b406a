import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from gradience import references
from gradience.errors import ExtraMissingError, InputError
from gradience.references import child
from gradience.references.reference import Reference

SaveAdapter = Callable[..., Path]
RESOLVER = """
    import sys, time
    from pathlib import Path
    from gradience.errors import InputError
    from gradience.references import Fetched

    class Resolver:
        def fetch(self, reference):
            act = reference.rest.partition("?")[0]
            if act == "missing":
                import ink_that_nobody_has.sub
            if act == "gone":
                raise FileNotFoundError("/some/cache/path")
            if act == "refused":
                raise InputError("it is refused")
            if act == "failed":
                raise RuntimeError(f"no luck\\nwith {reference.text}, token=abc")
            if act == "slow":
                time.sleep(60)
            if act == "broken":
                sys.exit(3)
            return Fetched(folder=Path("/somewhere") / act, shown=reference.shown, runs={"diary": "1"})
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody else's distribution that fetches `diary://`."""
    offer(tmp_path, "diary-resolver", "diary", "diary_resolver:Resolver")
    (tmp_path / "diary_resolver.py").write_text(dedent(RESOLVER))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return tmp_path


def offer(site: Path, distribution: str, scheme: str, value: str) -> None:
    """Lay down the metadata of a distribution that offers a resolver."""
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[gradience.references]\n{scheme} = {value}\n")


@pytest.mark.parametrize("place", ["out/adapter", Path("diary://x"), "C:/out"])
def test_a_path_is_itself(place: str | Path) -> None:
    """Whether something is there is not asked; a `Path` is never a reference."""
    found = references.fetch(place)
    assert (found.folder, found.shown, found.is_local, found.runs) == (Path(place), str(place), True, {})


@pytest.mark.parametrize(
    "url", ["file:///out/an%20adapter", "file://localhost/out/an%20adapter", "file:/out/an adapter"]
)
def test_a_file_url_is_its_path(url: str) -> None:
    """Without any library."""
    found = references.fetch(url)
    assert (found.folder, found.shown, found.is_local) == (Path("/out/an adapter"), "/out/an adapter", True)


def test_a_file_url_may_name_a_file() -> None:
    """Which some tools save adapters as."""
    found = references.fetch("file:///out/style.safetensors")
    assert (found.folder, found.shown) == (Path("/out/style.safetensors"), "/out/style.safetensors")


def test_a_file_url_of_another_machine_is_refused() -> None:
    """Its path would lead somewhere else here."""
    with pytest.raises(InputError, match="another machine"):
        references.fetch("file://server/out/adapter")


def test_a_scheme_leads_to_who_offers_it() -> None:
    """Anybody's distribution may."""
    found = references.fetch("diary://me:secret@page")
    assert (found.shown, found.is_local, found.runs) == ("diary://[REDACTED]@page", False, {"diary": "1"})


def test_a_scheme_that_two_claim_is_refused(site: Path) -> None:
    """Nothing decides between them but a person."""
    offer(site, "other-diary", "diary", "other:Resolver")
    with pytest.raises(InputError, match="claimed by diary-resolver and other-diary: uninstall one"):
        references.fetch("diary://x")


def test_a_resolver_that_cannot_be_loaded_is_named(site: Path) -> None:
    """With the reason."""
    offer(site, "torn", "torn", "diary_resolver:Nothing")
    with pytest.raises(InputError, match="diary_resolver:Nothing"):
        references.fetch("torn://x")


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        ("missing", ExtraMissingError, "'ink_that_nobody_has' is not installed: pip install ink_that_nobody_has"),
        ("gone", InputError, "there is no such place; check the reference"),
        ("refused", InputError, "it is refused"),
        ("failed?sig=abc", InputError, "no luck with diary://failed?[REDACTED] token=[REDACTED]"),
    ],
)
@pytest.mark.parametrize("in_child", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_a_resolver_raises_becomes_one_line(act: str, kind: type[Exception], said: str, in_child: bool) -> None:
    """An install line for a library that is missing; never a credential; in another process as in this one."""
    text = f"diary://{act}"
    with pytest.raises(kind) as raised:
        child.fetch("diary_resolver:Resolver", Reference(text), {}) if in_child else references.fetch(text)
    assert str(raised.value).endswith(said)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.slow
def test_another_process_hands_back_what_it_fetched() -> None:
    """As it would be here."""
    found = child.fetch("diary_resolver:Resolver", Reference("diary://page"), {})
    assert found == references.fetch("diary://page")


@pytest.mark.slow
@pytest.mark.parametrize(("act", "said"), [("slow", "not done within 1 s"), ("broken", "broke off")])
def test_another_process_that_hangs_or_breaks_is_given_up(act: str, said: str) -> None:
    """Within the deadline, and in one line."""
    with pytest.raises(InputError, match=said):
        child.fetch("diary_resolver:Resolver", Reference(f"diary://{act}"), {}, deadline_s=1.0)


@pytest.mark.slow
def test_a_local_audit_imports_no_resolver(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """Neither a resolver nor its library nor the list of who offers one."""
    save_adapter(tmp_path / "adapter")
    script = f"""
import sys
from importlib import metadata
asked, given = [], metadata.entry_points
metadata.entry_points = lambda **wanted: asked.append(wanted.get("group")) or given(**wanted)
from gradience.audit import audit
audit({str(tmp_path / "adapter")!r})
libraries = {{"fsspec", "huggingface_hub", "mlflow", "wandb", "urllib3", "requests", "httpx", "aiohttp"}}
print(sorted(libraries & set(sys.modules)), [m for m in sys.modules if m.startswith("gradience_")])
assert "gradience.references" not in asked
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[] []", "")
