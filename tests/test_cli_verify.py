import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.evaluation import process
from gradience.vnext.telemetry import TelemetryWriter

SaveAdapter = Callable[..., Path]
PATIENCE_S = 60.0
ODD = "an 'odd' \"name\" $HOME {seed}"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same courtesies to a command that must end, sooner over."""
    monkeypatch.setattr(process, "GRACE_S", 0.5)


@pytest.fixture
def original(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter of rank 16, at step 30 of a run."""
    return save_adapter(tmp_path / "out" / "checkpoint-30")


@pytest.fixture
def compressed(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """Another one of rank 4, in a folder whose name is full of syntax."""
    return save_adapter(tmp_path / ODD, r=4)


@pytest.fixture
def journal(original: Path) -> Path:
    """That of the run that trained the original."""
    path = original.parent / "run.jsonl"
    with TelemetryWriter(path, "run-1") as writer:
        writer.run_start({"training": {"max_steps": 40}})
        for step in range(1, 41):
            writer.train_step(step, loss=1.0 / step)
    return path


@pytest.fixture
def verify(original: Path, compressed: Path, tmp_path: Path) -> Callable[..., Result]:
    """Call `gradience verify` with a Python program as the evaluation; `rank` is there the adapter's."""

    def call(program: str, *options: str, arguments: str = "{adapter}") -> Result:
        script = tmp_path / "evaluate.py"
        rank = "import json, sys\nrank = json.load(open(sys.argv[1] + '/adapter_config.json'))['r']\n"
        script.write_text(rank + program)
        command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {arguments}"
        given = ["verify", "--original", str(original), "--compressed", str(compressed), "--command", command]
        return CliRunner().invoke(group, [*given, *options])

    return call


Verify = Callable[..., Result]


def _says(accuracy: str) -> str:
    """A program whose last line has this accuracy, an expression over `rank`."""
    return f"print('\\r 50%|##  |', end=''); print(json.dumps({{'accuracy': {accuracy}, 'n': 10000}}))"


def _event(journal: Path) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(journal.read_text().splitlines()[-1])
    return event


def test_a_pass_is_told_and_recorded(verify: Verify, journal: Path, original: Path, compressed: Path) -> None:
    """Numbers, fingerprints and durations become an event of the run that trained the original, at its step."""
    result = verify(_says("0.9 if rank == 16 else 0.898"))
    assert (result.exit_code, result.exception) == (0, None)
    assert "verdict     pass" in result.stdout
    assert f"Appended the verification to {journal} (run run-1)" in result.stderr
    event = _event(journal)
    metrics = event["metrics"]
    assert (event["event"], event["kind"], event["run_id"], event["step"]) == ("metrics", "verification", "run-1", 30)
    assert (metrics["verified"], metrics["original"], metrics["compressed"]) == ("pass", 0.9, 0.898)
    assert (metrics["metric"], metrics["standard_error_from"], metrics["repeats"]) == ("accuracy", "binomial", 1)
    assert [metrics[side]["r"] for side in ("adapter", "compressed_adapter")] == [16, 4]
    assert metrics["adapter"]["fingerprint"] != metrics["compressed_adapter"]["fingerprint"]
    assert metrics["adapter"]["peft_dir"] == str(original)
    assert metrics["compressed_adapter"]["peft_dir"] == str(compressed)


def test_a_fail_has_exit_code_3_and_is_recorded(verify: Verify, journal: Path) -> None:
    """With a finding that says what was lost, and what to do."""
    result = verify(_says("0.9 if rank == 16 else 0.8"))
    assert result.exit_code == 3
    assert "error verification_failed" in result.stdout
    assert "accuracy is worse by 0.1" in result.stdout
    assert _event(journal)["metrics"]["verified"] == "fail"


def test_too_few_examples_show_nothing(verify: Verify) -> None:
    """Neither pass nor fail, unless somebody asks for that."""
    program = "print(json.dumps({'accuracy': 0.9 if rank == 16 else 0.88, 'n': 50}))"
    result = verify(program)
    assert result.exit_code == 0
    assert "verdict     inconclusive" in result.stdout
    assert "a drop of that size is neither shown nor ruled out" in " ".join(result.stdout.split())
    assert verify(program, "--fail-on", "verification_inconclusive").exit_code == 3


def test_the_same_examples_tell_more(verify: Verify) -> None:
    """Where the command prints the value of each: two of 1,000 changed."""
    program = "ok = [1] * 900 + [0] * 100\nif rank == 4: ok[0] = ok[1] = 0\n"
    result = verify(program + "print(json.dumps({'accuracy': sum(ok) / 1000, 'correct': ok}))", "--json")
    document = json.loads(result.stdout)
    assert (document["schema"], document["verified"]) == ("gradience.verification/v1", "pass")
    assert (document["standard_error_from"], document["n"]) == ("examples", 1000)
    assert document["standard_error"] == pytest.approx(0.0017, abs=1e-4)


def test_a_policy_has_another_tolerance(verify: Verify, tmp_path: Path) -> None:
    """Where nobody states one; the finding tells whose it is."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("verification_failed:\n  thresholds:\n    tolerance_share: 0.0001\n    coarsest_share: 0.0001\n")
    program = "ok = [1] * 9000 + [0] * 1000\nif rank == 4: ok[:20] = [0] * 20\n"
    program += "print(json.dumps({'accuracy': sum(ok) / 10000, 'correct': ok}))"
    assert verify(program).exit_code == 0
    result = verify(program, "--policy", str(policy), "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["tolerance"]) == (3, pytest.approx(0.00009))
    assert document["findings"][0]["evidence"]["policy_changed"] == ["tolerance_share", "coarsest_share"]


def test_repeats_alternate_and_have_their_seeds(verify: Verify, tmp_path: Path) -> None:
    """In the argument and in the variable, the same for both of a pair."""
    log = tmp_path / "log"
    program = (
        f"import os\nopen({str(log)!r}, 'a').write(f\"{{rank}}:{{sys.argv[2]}}:{{os.environ['SEED']}} \")\n"
        "print(json.dumps({'loss': 1.0 + 0.01 * int(sys.argv[2]) + (0.001 if rank == 4 else 0)}))"
    )
    options = ("--repeats", "3", "--seed", "5", "--seed-variable", "SEED", "--json")
    document = json.loads(verify(program, *options, arguments="{adapter} {seed}").stdout)
    assert log.read_text().split() == ["16:5:5", "4:5:5", "4:6:6", "16:6:6", "16:7:7", "4:7:7"]
    assert (document["seeds"], document["verified"]) == ([5, 6, 7], "pass")
    assert document["delta"] == pytest.approx(0.001)
    assert document["original_values"] == pytest.approx([1.05, 1.06, 1.07])


@pytest.mark.parametrize(
    ("writes", "arguments", "options"),
    [
        ("open(sys.argv[2] + '/x.json', 'w').write('{\"accuracy\": 0.9, \"n\": 99999}')", "{adapter} {output}", ()),
        (
            (
                "from gradience.vnext.telemetry import TelemetryWriter\n"
                "with TelemetryWriter(sys.argv[2] + '/e.jsonl') as writer:\n"
                "    writer.run_start({}); writer.eval(1, split='test', metrics={'accuracy': 0.9, 'n': 99999})"
            ),
            "{adapter} {output}",
            ("--metric", "test/accuracy"),
        ),
        (
            "open(sys.argv[1] + '.json', 'w').write('{\"accuracy\": 0.9, \"n\": 99999}')",
            "{adapter}",
            ("--results", "{adapter}.json"),
        ),
    ],
    ids=["a file in {output}", "an eval event", "a file that is named"],
)
def test_the_number_may_be_in_a_file(verify: Verify, writes: str, arguments: str, options: tuple[str, ...]) -> None:
    """What was printed does not matter then."""
    result = verify(f"{writes}\nprint(json.dumps({{'accuracy': 0.1}}))", *options, "--json", arguments=arguments)
    assert json.loads(result.stdout)["original"] == 0.9


@pytest.mark.parametrize("named", ["results/x.json", "results"])
def test_results_of_another_evaluation_are_not_these(verify: Verify, tmp_path: Path, named: str) -> None:
    """A command that writes nothing has failed, however lately the other one wrote there."""
    place = tmp_path / "results" / "x.json"
    place.parent.mkdir()
    write = f"open({str(place)!r}, 'w').write('{{\"accuracy\": 0.9}}')"
    result = verify(f"if rank == 16: {write}", "--results", str(tmp_path / named))
    assert result.exit_code == 1
    assert "accuracy 0.9 in" in result.stderr
    assert "evaluation 2 of 2 (compressed, seed 0)" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("print('no number here')", "gave no number: print a JSON object"),
        ("print(json.dumps({'f2': 1, 'f3': 2}))", "which metric is meant is not known: name one of f2, f3"),
        ("print('{\"accuracy\": NaN}')", "accuracy is nan, which is no number to compare"),
        ("print('{\"accuracy\": Infinity}')", "accuracy is inf, which is no number to compare"),
        ("print(json.dumps({'quality': 0.5}))", "whether more quality is better is not known: add --higher-is-better"),
        ("sys.exit('no GPU here')", "evaluation 1 of 2 (original, seed 0) failed with exit code 1: no GPU here"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL (out of memory?)"),
        ("print('x' * 3_000_000); sys.exit(1)", "failed with exit code 1: xxx"),
        ("raise ValueError('boom')", "failed with exit code 1: ValueError: boom"),
        ("print('x' * 3_000_000); print('y\\n' * 1_000_000)", "gave no number"),
        ("import time; print('started', flush=True); time.sleep(600)", "took longer than --timeout 2: started"),
    ],
)
def test_a_command_that_gives_no_number_is_said(verify: Verify, journal: Path, program: str, says: str) -> None:
    """In one line with the end of its own words; exit code 1, nothing is recorded."""
    before = journal.read_bytes()
    result = verify(program, "--timeout", "2" if "600" in program else str(PATIENCE_S))
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()[-1]) < 1000
    assert journal.read_bytes() == before


def test_a_quiet_command_that_fails_shows_its_end(verify: Verify) -> None:
    """The last lines, though nothing was shown before."""
    result = verify("print('first\\n' * 100); sys.exit('two')", "--quiet")
    assert result.stderr.splitlines()[-2].strip() == "two"
    assert "first" not in result.stderr


def test_what_the_command_prints_is_shown_but_for_the_ends_of_long_lines(verify: Verify) -> None:
    """On stderr; stdout has the result alone."""
    result = verify(f"print('hello'); print('x' * 5000); print('why', file=sys.stderr); {_says('0.5')}", "--json")
    assert "hello\n" in result.stderr
    assert "why\n" in result.stderr
    assert "x" * 201 not in result.stderr
    assert "evaluation 2 of 2 (compressed, seed 0) ..." in result.stderr
    assert json.loads(result.stdout)["verified"] == "pass"


@pytest.mark.parametrize(
    "options",
    [
        ("--command", "true"),
        ("--command", "x {adaptor} {adapter}"),
        ("--shell", "--command", "x '{adapter}'"),
        ("--tolerance", "much"),
        ("--log-to", "mlflow", "--sinks", "x.yaml"),
        ("--fail-on", "nothing"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(verify: Verify, options: tuple[str, ...]) -> None:
    """As usage."""
    result = verify("sys.exit('it ran')", *options)
    assert result.exit_code == 2
    assert "it ran" not in result.stderr


def test_an_adapter_is_not_verified_by_itself(original: Path) -> None:
    """Nothing would be shown."""
    given = ["verify", "--original", str(original), "--compressed", str(original), "--command", "x {adapter}"]
    result = CliRunner().invoke(group, given)
    assert result.exit_code == 1
    assert "it is the same adapter as" in result.stderr


def test_secrets_of_the_command_stay_here(verify: Verify, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked in the event: by their looks, and as values of the environment."""
    monkeypatch.setenv("EVAL_API_KEY", "hunter2-hunter2")
    arguments = "{adapter} --api-key sk-notreal --password=letmein https://me:pw@host hunter2-hunter2"
    assert verify(_says("0.9"), arguments=arguments).exit_code == 0
    told = _event(journal)["metrics"]["command"]
    assert "{adapter}" in told
    assert not any(secret in journal.read_text() for secret in ("hunter2", "letmein", "sk-notreal", "me:pw"))


def test_a_command_may_go_elsewhere(original: Path, compressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path that it gets is absolute."""
    monkeypatch.chdir(original.parent)
    script = "import os, sys; os.chdir('/'); os.listdir(sys.argv[1]); print('{\"accuracy\": 0.9}')"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} {{adapter}}"
    given = ["--original", original.name, "--compressed", str(compressed), "--command", command]
    assert CliRunner().invoke(group, ["verify", *given]).exit_code == 0


def test_without_a_journal_it_is_said_that_nothing_is_kept(verify: Verify, original: Path) -> None:
    """Unless one is asked for."""
    result = verify(_says("0.9"))
    assert "Not recorded: no recorded run" in result.stderr
    assert verify(_says("0.9"), "--telemetry", str(original / "new.jsonl")).exit_code == 0
    assert json.loads((original / "new.jsonl").read_text().splitlines()[0])["meta"]["created_by"] == "gradience verify"


def test_the_run_remembers(verify: Verify, journal: Path, original: Path) -> None:
    """The summary of the run shows it, `--fail-on` looks at it, and a later audit of the same adapter says so."""
    assert verify(_says("0.9 if rank == 16 else 0.8"), "--repeats", "1").exit_code == 3
    seen = CliRunner().invoke(group, ["monitor", str(journal), "--fail-on", "verification_failed"])
    assert seen.exit_code == 3
    assert "Verification (step 30)" in seen.stdout
    assert "verdict     fail" in seen.stdout
    audited = ["audit", "--peft-dir", str(original), "--append", str(journal), "--json"]
    assert json.loads(CliRunner().invoke(group, audited).stdout)["advice"]["verified"] == "fail"
    assert _event(journal)["verified"] == "fail"
    assert verify(_says("0.9")).exit_code == 0
    audited += ["--energy-level", "0.9"]
    assert json.loads(CliRunner().invoke(group, audited).stdout)["advice"]["verified"] == "pass"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_evaluation_too(
    original: Path, compressed: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C reaches us alone, since the command has a session of its own."""
    note = tmp_path / "pid"
    script = tmp_path / "evaluate.py"
    script.write_text(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{adapter}}"
    given = ["--original", str(original), "--compressed", str(compressed), "--command", command]
    us = subprocess.Popen([sys.executable, "-m", "gradience", "verify", *given], stderr=subprocess.PIPE)
    until = time.monotonic() + PATIENCE_S
    while not (note.exists() and note.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    us.send_signal(number)
    _, told = us.communicate(timeout=PATIENCE_S)
    assert us.returncode == code, told
    assert b"Traceback" not in told
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
