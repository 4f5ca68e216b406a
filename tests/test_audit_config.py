"""adapter_config.json: what is read, and every refusal that it decides."""

import json
from pathlib import Path
from typing import Any

import pytest

from gradience.audit.disk import config
from gradience.errors import AdapterError

PLAIN = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj"]}


def written(folder: Path, fields: Any) -> Path:
    """The config file with these fields, or with these very bytes."""
    path = folder / "adapter_config.json"
    path.write_bytes(fields if isinstance(fields, bytes) else json.dumps(fields).encode())
    return path


def test_missing_fields_have_the_defaults_of_peft(tmp_path: Path) -> None:
    """A config of one key loads: r and lora_alpha are 8."""
    read = config.read(written(tmp_path, {"peft_type": "LORA"}))
    assert (read.r, read.lora_alpha, read.init_lora_weights) == (8, 8, True)


def test_unknown_fields_and_nulls_do_not_matter(tmp_path: Path) -> None:
    """PEFT ignores keys that it does not know, and writes null for what is off."""
    extra = {"alpha": 3, "use_rslora": None, "rank_pattern": None, "kasa_config": None, "layer_replication": None}
    assert config.read(written(tmp_path, {**PLAIN, **extra})).lora_alpha == 32


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    """Editors on Windows leave one."""
    assert config.read(written(tmp_path, b"\xef\xbb\xbf" + json.dumps(PLAIN).encode())).r == 16


@pytest.mark.parametrize(("rslora", "expected"), [(False, 2.0), (True, 8.0)])
def test_the_scale_is_that_of_peft(tmp_path: Path, rslora: bool, expected: float) -> None:
    """It is alpha / r, or alpha / sqrt(r) with rank-stabilised LoRA."""
    read = config.read(written(tmp_path, {**PLAIN, "use_rslora": rslora}))
    assert read.scale(16, 32.0) == expected


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_initialisations_that_leave_the_base_alone_pass(tmp_path: Path, init: object) -> None:
    """The base weights are untouched, so B @ A is the update."""
    assert config.read(written(tmp_path, {**PLAIN, "init_lora_weights": init})).init_lora_weights == init


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "PiSSA"])
def test_initialisations_that_change_the_base_are_known(tmp_path: Path, init: str) -> None:
    """B @ A then holds a piece of the base."""
    assert config.read(written(tmp_path, {**PLAIN, "init_lora_weights": init})).changes_base
    assert not config.read(written(tmp_path, {**PLAIN, "init_lora_weights": "eva"})).changes_base


@pytest.mark.parametrize(("alpha", "scale"), [(6, 2.0), (0, 1.0), (-1, 1.0)])
def test_adalora_divides_by_the_rank_it_began_with(tmp_path: Path, alpha: float, scale: float) -> None:
    """`r` means nothing to it; an alpha that is not positive stands for the module's rank."""
    fields = {**PLAIN, "peft_type": "ADALORA", "init_r": 3, "rank_pattern": {"q.lora_E": [True, False, True]}}
    assert config.read(written(tmp_path, fields)).scale(3, alpha) == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("kasa_config", {"beta": 1}, "KaSA"),
        ("use_bdlora", {"nblocks": 2}, "BD-LoRA"),
        ("use_qalora", True, "QA-LoRA"),
        ("alora_invocation_tokens", [1, 2], "activated"),
        ("arrow_config", {"top_k": 2}, "Arrow"),
        ("megatron_config", {"a": 1}, "Megatron"),
        ("use_from_the_future", True, "not known"),
        ("future_config", {"x": 1}, "not known"),
        ("init_lora_weights", "from_the_future", "not known"),
        ("r", "16", "r"),
        ("r", True, "r"),
        ("r", 0, "positive"),
        ("r", 16.5, "r"),
        ("lora_alpha", "abc", "lora_alpha"),
        ("rank_pattern", {"q_proj": 3.5}, "rank_pattern"),
        ("rank_pattern", {"q_proj": -1}, "positive"),
        ("rank_pattern", {"q_proj.lora_E": [True, False]}, "AdaLoRA"),
        ("rank_pattern", ["q_proj"], "rank_pattern"),
        ("alpha_pattern", {"q_proj": None}, "alpha_pattern"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(tmp_path: Path, field: str, value: object, says: str) -> None:
    """One line names the file and what is special."""
    path = written(tmp_path, {**PLAIN, field: value})
    with pytest.raises(AdapterError, match=says) as caught:
        config.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["LOHA", "IA3", "OFT", "PROMPT_TUNING", "FROM_THE_FUTURE", None, 3, {}])
def test_every_other_peft_type_is_refused(tmp_path: Path, kind: object) -> None:
    """The default for the unknown is refusal, before any other field is looked at."""
    fields = {**PLAIN, "peft_type": kind, "rank_pattern": {"x.lora_E": [True]}}
    with pytest.raises(AdapterError, match=f"peft_type is '{kind}'"):
        config.read(written(tmp_path, fields))


@pytest.mark.parametrize("field", ["use_dora", "target_parameters", "layer_replication"])
def test_adalora_with_a_variant_of_lora_is_refused(tmp_path: Path, field: str) -> None:
    """PEFT has no such adapter."""
    with pytest.raises(AdapterError, match="AdaLoRA does not have"):
        config.read(written(tmp_path, {"peft_type": "ADALORA", field: [1]}))


def test_an_additive_type_gets_the_way_to_convert_it(tmp_path: Path) -> None:
    """PEFT can turn LoHa into LoRA."""
    with pytest.raises(AdapterError, match="save_as_lora"):
        config.read(written(tmp_path, {"peft_type": "LOHA"}))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b'{"lora_parameters": {}, "fine_tune_type": "lora"}', "mlx-lm"),
        (b'{"r": 8}', "no peft_type"),
        (b'{"peft_type": "LORA", "lora_alpha": 1e999}', "lora_alpha|out of range"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    """Broken JSON, a pointer, another tool's config: one line each."""
    with pytest.raises(AdapterError, match=says) as caught:
        config.read(written(tmp_path, raw))
    assert "\n" not in str(caught.value)
