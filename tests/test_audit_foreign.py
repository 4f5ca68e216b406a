"""Adapters of other tools, written by their documented rules, against the update that each of the tools computes."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gradience.audit import audit, fingerprint
from gradience.audit.disk import folder
from gradience.audit.record import AuditRecord
from gradience.errors import AdapterError

Tensors = dict[str, torch.Tensor]


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Numbers that differ by their shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def kohya(name: str, a: tuple[int, ...], b: tuple[int, ...], alpha: float | None = None) -> Tensors:
    """One module as kohya writes it."""
    tensors = {f"{name}.lora_down.weight": random(*a), f"{name}.lora_up.weight": random(*b)}
    return tensors if alpha is None else {**tensors, f"{name}.alpha": torch.tensor(alpha)}


def saved(path: Path, tensors: Tensors, **metadata: str) -> Path:
    """The file, with what its writer says beside the tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata or None)
    return path


def refusal(path: Path) -> str:
    """The one line with which it is refused."""
    with pytest.raises(AdapterError) as caught:
        audit(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(record: AuditRecord, updates: Tensors) -> None:
    """The spectra are those of the dense updates, each flattened to a matrix."""
    assert [module.name for module in record.modules] == list(updates)
    for module in record.modules:
        dense = updates[module.name].double().flatten(1)
        expected = torch.linalg.svdvals(dense)[: module.r].tolist()
        assert module.singular_values == pytest.approx(expected, rel=1e-9, abs=1e-12 * expected[0])
        assert (module.out_features, module.in_features) == dense.shape


Q = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q"
FF = "lora_unet_down_blocks_10_attentions_1_transformer_blocks_0_ff_net_0_proj"
CONV = "lora_unet_up_blocks_1_resnets_0_conv1"
TEXT = "lora_te1_text_model_encoder_layers_3_self_attn_q_proj"


def test_kohya_is_measured_with_the_alpha_of_each_module(tmp_path: Path) -> None:
    """Alpha / r, and 1 where it is missing or 0; a convolution is flattened; names have their dots back."""
    tensors = {
        **kohya(Q, (4, 32), (24, 4), alpha=2.0),
        **kohya(FF, (8, 32), (24, 8)),
        **kohya(CONV, (4, 6, 3, 3), (10, 4, 1, 1), alpha=0.0),
        **kohya(TEXT, (4, 16), (16, 4), alpha=1.0),
    }
    tensors[f"{TEXT}.alpha"] = tensors[f"{TEXT}.alpha"].bfloat16()
    file = saved(tmp_path / "style.safetensors", tensors, ss_sd_model_name="base.safetensors", ss_steps="1500")

    def dense(name: str) -> torch.Tensor:
        a, b = (tensors[f"{name}.lora_{side}.weight"].double() for side in ("down", "up"))
        return (b.flatten(1) @ a.flatten(1)).reshape(b.shape[0], *a.shape[1:])

    record = audit(file)
    check(
        record,
        {
            "text_encoder.text_model_encoder_layers.3.self_attn.q_proj": dense(TEXT) / 4,
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q": dense(Q) / 2,
            "unet.down_blocks.10.attentions.1.transformer_blocks.0.ff.net.0.proj": dense(FF),
            "unet.up_blocks.1.resnets.0.conv1": dense(CONV),
        },
    )
    assert [module.module_type for module in record.modules] == ["attn", "attn", "mlp", "other"]
    assert [module.kind for module in record.modules] == ["linear", "linear", "linear", "conv"]
    adapter = record.adapter
    assert (adapter.layout, adapter.r, adapter.base_model, adapter.step) == ("kohya", 8, "base.safetensors", 1500)
    assert [issue.partition(":")[0] for issue in record.issues] == ["no_alpha", "conv"]
    assert audit(tmp_path).modules == record.modules
    assert fingerprint(tmp_path) == fingerprint(file) == adapter.fingerprint


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({f"{CONV}.lora_mid.weight": random(4, 4, 3, 3)}, "middle factor"),
        ({f"{Q}.dora_scale": random(24, 1)}, "magnitudes of DoRA"),
        ({f"{FF}.hada_w1_a": random(4, 4)}, "LyCORIS"),
        ({f"{FF}.lokr_w1": random(4, 4)}, "LyCORIS"),
        ({f"{FF}.diff": random(4, 4)}, "trained whole"),
        ({f"{FF}.lora_down.0.weight": random(4, 4)}, "split"),
        ({f"{FF}.lora_down.weight": random(4, 4)}, "a factor is missing in 1 modules"),
        (kohya(FF, (4, 8), (8, 3)), "do not fit"),
        (kohya(FF, (4, 8), (8, 4, 1, 1)), "do not fit"),
        (kohya(FF, (4, 8, 3, 3), (8, 4, 3, 3)), "do not fit"),
        ({f"{Q}.lora_down.bias": random(4)}, "no factor of a module"),
        ({f"{Q}.scalar": torch.tensor(0.1)}, "no factor of a module"),
        (
            kohya("lora_te_x", (4, 8), (8, 4)) | kohya("lora_te1_x", (4, 8), (8, 4)),
            "the same module ('text_encoder.x')",
        ),
        ({f"{Q}.alpha": torch.tensor(float("nan"))}, "is nan"),
        ({f"{Q}.alpha": random(2)}, "no single number"),
        ({f"{Q}.lora_up.weight": random(24, 4).to(torch.int32)}, "dtype 'I32'"),
    ],
)
def test_what_is_not_plain_lora_of_kohya_is_refused(tmp_path: Path, extra: Tensors, says: str) -> None:
    """By name, or as damaged."""
    tensors = {**kohya(Q, (4, 32), (24, 4), alpha=2.0), **extra}
    assert says in refusal(saved(tmp_path / "a.safetensors", tensors))


def test_a_file_of_only_loha_is_refused_by_name(tmp_path: Path) -> None:
    """Its names are kohya's."""
    assert "LyCORIS" in refusal(saved(tmp_path / "a.safetensors", {f"{Q}.hada_w1_a": random(4, 4)}))


def test_several_files_of_kohya_are_named(tmp_path: Path) -> None:
    """One of each epoch: which one is meant is for the user to say."""
    for name in ("a-000001", "a"):
        saved(tmp_path / f"{name}.safetensors", kohya(Q, (4, 32), (24, 4)))
    assert "several LoRA files ('a-000001.safetensors', 'a.safetensors')" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_the_files_is_passed_over(tmp_path: Path) -> None:
    """Nobody ever writes into it."""
    saved(tmp_path / "b.safetensors", kohya(Q, (4, 32), (24, 4)))
    os.mkfifo(tmp_path / "a.safetensors")
    assert audit(tmp_path).adapter.layout == "kohya"


TO_Q = "unet.down_blocks.0.attentions.0.attn1.to_q"
Q_PROJ = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"


def diffusers(form: str = ".lora_A .lora_B", r: int = 4) -> Tensors:
    """A module of the denoiser and one of the text encoder."""
    a, b = form.split()
    factors = {f"{TO_Q}{a}.weight": random(r, 32), f"{TO_Q}{b}.weight": random(24, r)}
    return {**factors, f"{Q_PROJ}{a}.weight": random(2, 16), f"{Q_PROJ}{b}.weight": random(16, 2)}


def product(tensors: Tensors, name: str) -> torch.Tensor:
    """B @ A of a module."""
    a, b = (tensors[f"{name}.lora_{side}.weight"].double() for side in "AB")
    return b @ a


def test_diffusers_settings_count_for_their_own_component(tmp_path: Path) -> None:
    """PEFT's rules, patterns included, on names inside the component."""
    said = {
        "unet.r": 8,
        "unet.lora_alpha": 2,
        "unet.rank_pattern": {"^down_blocks.0.attentions.0.attn1.to_q": 4},
        "text_encoder.r": 2,
        "text_encoder.lora_alpha": 6,
        "text_encoder.use_rslora": True,
    }
    tensors = diffusers()
    file = saved(tmp_path / "pytorch_lora_weights.safetensors", tensors, lora_adapter_metadata=json.dumps(said))
    record = audit(tmp_path)
    check(record, {Q_PROJ: product(tensors, Q_PROJ) * 6 / 2**0.5, TO_Q: product(tensors, TO_Q) * 2 / 4})
    assert (record.adapter.layout, record.issues) == ("diffusers", ())
    assert audit(file).modules == record.modules


@pytest.mark.parametrize(
    "form",
    [".lora_A .lora_B", ".lora.down .lora.up", "_lora.down _lora.up", ".lora_linear_layer.down .lora_linear_layer.up"],
)
def test_diffusers_files_without_settings_have_the_scale_1(tmp_path: Path, form: str) -> None:
    """However their factors are called; that it is an assumption is told."""
    plain = diffusers()
    record = audit(saved(tmp_path / "a.safetensors", diffusers(form)))
    check(record, {Q_PROJ: product(plain, Q_PROJ), TO_Q: product(plain, TO_Q)})
    assert record.issues[0].startswith("no_alpha:")


def test_alphas_in_a_diffusers_file_count(tmp_path: Path) -> None:
    """For the modules that they belong to; where only some have one, the tools differ."""
    tensors = diffusers() | {f"{TO_Q}.alpha": torch.tensor(2), f"{Q_PROJ}.alpha": torch.tensor(1.0).half()}
    check(
        audit(saved(tmp_path / "a.safetensors", tensors)),
        {Q_PROJ: product(tensors, Q_PROJ) / 2, TO_Q: product(tensors, TO_Q) / 2},
    )
    del tensors[f"{TO_Q}.alpha"]
    assert "only some of its modules have an alpha" in refusal(saved(tmp_path / "b.safetensors", tensors))


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"unet.r": 4}, "no settings for 'text_encoder'"),
        ({"unet.r": 5, "text_encoder.r": 2}, "the config gives it r=5"),
        ({"unet.r": "4", "text_encoder.r": 2}, "not usable"),
        ({"unet.r": 4, "text_encoder.r": 2, "text_encoder.use_dora": True}, "DoRA"),
        ({"unet.r": 4, "text_encoder.r": 2, "unet.init_lora_weights": "pissa"}, "PiSSA"),
        ({"unet.r": 4, "text_encoder.r": 2, "unet.peft_type": "LOHA"}, "LOHA"),
        ([1], "no JSON object"),
    ],
)
def test_diffusers_settings_that_make_no_sense_are_refused(tmp_path: Path, said: Any, says: str) -> None:
    """As in PEFT's own config."""
    file = tmp_path / "a.safetensors"
    assert says in refusal(saved(file, diffusers(), lora_adapter_metadata=json.dumps(said)))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("unknown.q.lora_A.weight", "no factor of a module"),
        (TO_Q.replace("attn1", "attn1.processor") + ".lora_{}.weight", "same module"),
        (TO_Q + ".magnitude_{}", "no factor of a module"),
    ],
)
def test_factors_of_diffusers_that_belong_nowhere_are_refused(tmp_path: Path, key: str, says: str) -> None:
    """A component of a pipeline that is not known, and a path in its older and its newer form."""
    more = {key.format(side): random(*shape) for side, shape in (("A", (4, 32)), ("B", (24, 4)))}
    assert says in refusal(saved(tmp_path / "a.safetensors", diffusers() | more))


K_PROJ = "model.layers.10.self_attn.k_proj"


@pytest.fixture
def mlx(tmp_path: Path) -> tuple[Path, Tensors]:
    """An adapter of mlx-lm: a layer that is narrower than it is wide."""
    tensors = {f"{K_PROJ}.lora_a": random(48, 4), f"{K_PROJ}.lora_b": random(4, 12)}
    config = {
        "model": "org/base",
        "fine_tune_type": "lora",
        "num_layers": 16,
        "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.k_proj"]},
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    saved(tmp_path / "adapters.safetensors", tensors)
    return tmp_path, tensors


@pytest.mark.parametrize("exact", [False, True])
def test_mlx_uses_its_scale_as_it_is_and_stores_its_factors_transposed(mlx: tuple[Path, Tensors], exact: bool) -> None:
    """Scale * lora_b.T @ lora_a.T; the scale is not divided by the rank."""
    here, tensors = mlx
    record = audit(here, exact=exact)
    a, b = (tensors[f"{K_PROJ}.lora_{side}"].double() for side in "ab")
    check(record, {K_PROJ: 20.0 * b.T @ a.T})
    assert (record.adapter.layout, record.adapter.base_model, record.modules[0].scale) == ("mlx-lm", "org/base", 20.0)
    assert record.modules[0].params == 4 * (48 + 12)


def test_a_checkpoint_of_mlx_is_a_file(mlx: tuple[Path, Tensors]) -> None:
    """Its step is in its name."""
    here, tensors = mlx
    file = saved(here / "0000100_adapters.safetensors", tensors)
    assert audit(file).adapter.step == 100
    assert audit(here).adapter.step is None


def test_checkpoints_of_mlx_are_a_series(mlx: tuple[Path, Tensors]) -> None:
    """By step, and the final adapter after them."""
    here, tensors = mlx
    steps = [saved(here / f"{step:07d}_adapters.safetensors", tensors) for step in (1000, 200)]
    assert folder.series(here) == [*reversed(steps), here]


@pytest.mark.parametrize("final", [True, False])
def test_checkpoints_of_diffusers_are_a_series(tmp_path: Path, final: bool) -> None:
    """Without a final one the latest is named."""
    name = "pytorch_lora_weights.safetensors"
    steps = [saved(tmp_path / f"checkpoint-{step}" / name, diffusers()).parent for step in (1000, 200)]
    if final:
        saved(tmp_path / name, diffusers())
    assert folder.series(tmp_path) == [*reversed(steps), *[tmp_path] * final]
    assert audit(steps[0]).adapter.step == 1000
    if final:
        assert audit(tmp_path).adapter.step is None
    else:
        assert f"audit the latest one, {steps[0]}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fine_tune_type": "dora"}, "'dora'"),
        ({"fine_tune_type": "full"}, "'full'"),
        ({"lora_parameters": {"rank": 8, "scale": 1.0}}, "rank 8"),
        ({"lora_parameters": {"rank": 4, "alpha": 1.0}}, "no config of mlx-lm"),
        ({"lora_parameters": None}, "no config of mlx-lm"),
    ],
)
def test_a_config_of_mlx_that_does_not_fit_is_refused(mlx: tuple[Path, Tensors], change: Any, says: str) -> None:
    """Another method, another run, no scale."""
    config = mlx[0] / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    assert says in refusal(mlx[0])


def test_experts_of_mlx_are_refused_by_name(mlx: tuple[Path, Tensors]) -> None:
    """Their factors are stacked."""
    here, tensors = mlx
    switch = {"model.mlp.up_proj.lora_a": random(16, 8), "model.mlp.up_proj.lora_b": random(4, 12, 4)}
    saved(here / "adapters.safetensors", tensors | switch)
    assert "stacked experts" in refusal(here)


def test_magnitudes_of_mlx_are_refused_whatever_its_config_says(mlx: tuple[Path, Tensors]) -> None:
    """DoRA keeps them as `m` beside the factors."""
    here, tensors = mlx
    saved(here / "adapters.safetensors", {**tensors, f"{K_PROJ}.m": random(12)})
    assert "k_proj.m', which is no factor" in refusal(here)


def test_weights_that_mlx_trained_whole_are_no_lora(mlx: tuple[Path, Tensors]) -> None:
    """The message is about the file: a directory was given."""
    here, _ = mlx
    saved(here / "adapters.safetensors", {f"{K_PROJ}.weight": random(12, 48)})
    assert "adapters.safetensors: it holds no LoRA of" in refusal(here)


def test_without_its_config_the_scale_of_mlx_is_not_known(mlx: tuple[Path, Tensors]) -> None:
    """A refusal, not a guess."""
    (mlx[0] / "adapter_config.json").unlink()
    assert "the scale of this mlx-lm adapter is not known" in refusal(mlx[0])


@pytest.mark.parametrize(
    ("name", "path"),
    [("adapter_model", "transformer.h.0.attn.c_attn"), ("renamed", "base_model.model.q_proj")],
)
def test_a_file_of_peft_is_no_adapter_alone(tmp_path: Path, name: str, path: str) -> None:
    """Its config says what it means, even where its keys could be those of a pipeline."""
    tensors = {f"{path}.lora_A.weight": random(4, 8), f"{path}.lora_B.weight": random(8, 4)}
    file = saved(tmp_path / f"{name}.safetensors", tensors)
    assert "give the directory that holds adapter_config.json" in refusal(file)


def test_a_linked_file_is_told(tmp_path: Path) -> None:
    """As with PEFT's files."""
    saved(tmp_path / "elsewhere" / "a.safetensors", kohya(Q, (4, 32), (24, 4), alpha=1.0))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "b.safetensors").symlink_to(tmp_path / "elsewhere" / "a.safetensors")
    assert audit(tmp_path / "here").issues == (
        "linked: files that are links to elsewhere were followed ('b.safetensors')",
    )


def test_broken_numbers_are_found_in_every_layout(mlx: tuple[Path, Tensors]) -> None:
    """NaN in a transposed factor too."""
    here, tensors = mlx
    tensors[f"{K_PROJ}.lora_a"][3, 1] = float("nan")
    saved(here / "adapters.safetensors", tensors)
    assert "NaN or infinity" in refusal(here)


def test_a_foreign_adapter_has_no_initial_one(tmp_path: Path) -> None:
    """PiSSA and its kind are PEFT's."""
    file = saved(tmp_path / "a.safetensors", kohya(Q, (4, 32), (24, 4)))
    with pytest.raises(AdapterError, match="only PEFT's"):
        audit(file, initial=tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4),
    kind=st.sampled_from(["kohya", "diffusers", "mlx"]),
)
def test_a_damaged_file_gives_a_record_or_one_line(
    mlx: tuple[Path, Tensors], flips: list[tuple[int, int]], kind: str
) -> None:
    """Never a traceback, in any layout, wherever a byte of the file or of its config is changed."""
    here, tensors = mlx
    said = {"unet.r": 4, "unet.lora_alpha": 2, "text_encoder.r": 2, "text_encoder.lora_alpha": 6}
    contents = {"kohya": kohya(Q, (4, 32), (24, 4), alpha=2.0), "diffusers": diffusers(), "mlx": tensors}[kind]
    file = saved(here / f"{kind}.safetensors", contents, lora_adapter_metadata=json.dumps(said), ss_steps="7")
    for path in [file, *[here / "adapter_config.json"] * (kind == "mlx")]:
        raw = bytearray(path.read_bytes())
        for place, value in flips:
            raw[place % len(raw)] = value
        path.write_bytes(raw)
    with suppress(AdapterError):
        audit(file)
