"""Compression against PEFT: what it loads is the best approximation of what it had, for every way to configure it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

from gradience.audit import audit, compression  # noqa: E402
from gradience.audit.disk.opening import opened  # noqa: E402
from gradience.errors import AdapterError  # noqa: E402
from tests.integrations import test_audit_peft as plain  # noqa: E402
from tests.integrations import test_audit_peft_experts as experts  # noqa: E402
from tests.integrations.peft_adapters import (  # noqa: E402
    bert,
    gpt2,
    layers,
    llama,
    mixtral,
    rewritten,
    saved,
    scramble,
    seeded,
    updates,
)
from tests.integrations.test_audit_peft_variants import adalora, trained  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # PEFT's and transformers' own

Make = Callable[[], Any]
QV = ["q_proj", "v_proj"]
CASES: dict[str, tuple[Make, Any]] = {
    **{
        name: (make, lambda options=options: peft.LoraConfig(**options))
        for name, (make, options) in plain.CASES.items()
    },
    **{
        f"experts: {name}": (make, lambda options=options: peft.LoraConfig(r=4, lora_alpha=6, **options))
        for name, (make, options) in experts.CASES.items()
    },
    "embedding": (llama, lambda: peft.LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"])),
    "tied head": (
        lambda: llama(tie_word_embeddings=True),
        lambda: peft.LoraConfig(r=4, target_modules=["embed_tokens"], ensure_weight_tying=True),
    ),
    "convolutions": (
        layers(one=torch.nn.Conv1d(4, 6, 3), two=torch.nn.Conv2d(4, 6, (3, 2)), three=torch.nn.Conv3d(4, 6, 2)),
        lambda: peft.LoraConfig(r=3, target_modules=["one", "two", "three"]),
    ),
    "fused attention": (
        layers(attn=torch.nn.MultiheadAttention(8, 2)),
        lambda: peft.LoraConfig(r=3, target_modules=["attn"], rank_pattern={"attn": 4}, alpha_pattern={"attn": 5}),
    ),
    "AdaLoRA": (llama, lambda: adalora(lora_alpha=3)),
    "DoRA": (llama, lambda: peft.LoraConfig(r=4, use_dora=True, target_modules=[*QV, "embed_tokens"])),
    "VeLoRA": (
        llama,
        lambda: peft.LoraConfig(r=4, target_modules=QV, velora_config=peft.tuners.lora.config.VeloraConfig()),
    ),
    "MonteCLoRA": (
        llama,
        lambda: peft.LoraConfig(r=4, target_modules=QV, monteclora_config=peft.tuners.lora.config.MontecloraConfig()),
    ),
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with seeded():
        yield


def cut(folder: Path, out: Path, ranks: int | dict[str, int], **options: Any) -> Path:
    """The compressed adapter."""
    initial = options.pop("initial", None)
    with opened(folder, initial=initial) as found:
        wanted = dict.fromkeys((module.name for module in found.modules), ranks) if isinstance(ranks, int) else ranks
        compression.compress(found, out, wanted, **options)
    return out


def best(update: torch.Tensor, rank: int) -> torch.Tensor:
    """The closest matrix of this rank."""
    left, sigma, right = torch.linalg.svd(update, full_matrices=False)
    closest: torch.Tensor = (left[:, :rank] * sigma[:rank]) @ right[:rank]
    return closest


def assert_best(found: dict[str, torch.Tensor], before: dict[str, torch.Tensor], ranks: int | dict[str, int]) -> None:
    """Every module has the best approximation of its update."""
    assert found.keys() == before.keys()
    for name, update in before.items():
        wanted = best(update, ranks if isinstance(ranks, int) else ranks[name])
        assert torch.linalg.norm(found[name] - wanted) <= 1e-5 * torch.linalg.norm(wanted), name


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_peft_loads_the_best_approximation_of_its_own_update(tmp_path: Path, case: str, rank: int) -> None:
    """Names, orientation, kernels and scales; modules of a lower rank keep their whole update."""
    make, config = CASES[case]
    folder = saved(make(), tmp_path / "a", config())
    before = updates(make(), folder)
    out = cut(folder, tmp_path / "b", rank)
    assert_best(updates(make(), out), before, rank)
    said = json.loads((out / "adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["use_rslora"], said["peft_type"]) == (rank, rank, False, "LORA")
    assert (said["rank_pattern"], said["alpha_pattern"]) == ({}, {})


@pytest.mark.parametrize("case", ["plain", "patterns", "Conv1D", "experts: patterns by parameter", "fused attention"])
def test_each_module_can_have_a_rank_of_its_own(tmp_path: Path, case: str) -> None:
    """The patterns name them by full paths, and the config's rank is the largest."""
    make, config = CASES[case]
    folder = saved(make(), tmp_path / "a", config())
    before = updates(make(), folder)
    owners = list(dict.fromkeys(name.partition("[")[0].removesuffix(".out_proj") for name in before))
    ranks = {name: 1 + owners.index(name.partition("[")[0].removesuffix(".out_proj")) % 2 for name in before}
    out = cut(folder, tmp_path / "b", ranks)
    assert_best(updates(make(), out), before, ranks)
    said = json.loads((out / "adapter_config.json").read_text())
    assert said["r"] == max(ranks.values())
    assert said["rank_pattern"] == said["alpha_pattern"]


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_changed_base_becomes_an_adapter_of_the_original(tmp_path: Path, init: str) -> None:
    """B @ A - B0 @ A0, for the base as it was before the initialisation cut a piece out of it."""
    run, before, truth = trained(tmp_path, init_lora_weights=init)
    out = cut(run, tmp_path / "b", 8, initial=before)
    for name, update in updates(llama(), out).items():
        assert torch.linalg.norm(update - truth[name]) <= 1e-5 * torch.linalg.norm(truth[name])


def test_what_adalora_pruned_away_stays_away(tmp_path: Path) -> None:
    """A module of rank 0 has no factors, and none afterwards."""
    wrapped = peft.get_peft_model(llama(), adalora(lora_alpha=3))
    scramble(wrapped)
    left = {"model.layers.0.self_attn.v_proj.lora_E": [False] * 5}
    wrapped.peft_config["default"].rank_pattern = left
    wrapped.save_pretrained(tmp_path / "a")
    before = updates(llama(), tmp_path / "a")
    found = updates(llama(), cut(tmp_path / "a", tmp_path / "b", 2))
    assert not found.pop("model.layers.0.self_attn.v_proj").any()
    del before["model.layers.0.self_attn.v_proj"]
    assert_best(found, before, 2)


def test_experts_whose_columns_lie_by_expert_stay_so(tmp_path: Path) -> None:
    """The note that says so is kept, and the update of each is the best of its own."""
    parameter = experts.BOTH[:1]
    folder = saved(mixtral(), tmp_path / "a", peft.LoraConfig(r=4, target_modules=[], target_parameters=parameter))
    before = updates(mixtral(), folder)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for key in [key for key in tensors if "lora_B" in key]:
        tensors[key] = tensors[key].reshape(-1, 4, 4).transpose(1, 2).reshape(tensors[key].shape).contiguous()
    save_file(tensors, path)
    rewritten(folder, lora_B_layout="grouped_by_expert")
    record = audit(cut(folder, tmp_path / "b", 2))
    for module in record.modules:
        wanted = torch.linalg.svdvals(before[module.name])[:2].tolist()
        assert module.singular_values == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (llama, {"target_modules": QV, "use_rslora": True, "lora_alpha": 5}),
        (llama, {"target_modules": QV, "lora_bias": True, "lora_alpha": 12}),
        (llama, {"target_modules": QV, "use_dora": True}),
        (llama, {"target_modules": QV, "modules_to_save": ["lm_head"]}),
        (llama, {"target_modules": QV, "trainable_token_indices": [1, 3]}),
        (llama, {"target_modules": ["embed_tokens", "lm_head"]}),
        (gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "bias": "all"}),
        (bert, {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}),
    ],
    ids=["rslora", "lora_bias", "DoRA", "modules_to_save", "token rows", "embeddings", "biases", "classifier"],
)
def test_at_full_rank_the_model_is_the_same(tmp_path: Path, make: Make, options: dict[str, Any]) -> None:
    """Nothing is lost on the way: logits agree, with all that an adapter holds beside its factors."""
    wrapped = peft.get_peft_model(make(), peft.LoraConfig(r=4, **options))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "a")
    out = cut(tmp_path / "a", tmp_path / "b", 4)
    base = make().state_dict()
    before, after = (_logits(make, base, folder) for folder in (tmp_path / "a", out))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, _logits(make, base, None), atol=1e-3)


def _logits(make: Make, base: dict[str, Any], folder: Path | None) -> torch.Tensor:
    model = make()
    model.load_state_dict(base)
    loaded = model if folder is None else peft.PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        logits: torch.Tensor = loaded.eval()(input_ids=torch.arange(12)[None] % 8).logits
    return logits


@pytest.mark.parametrize("case", ["bin", "named", "without a prefix", "bfloat16"])
def test_every_form_of_the_weights_file_becomes_the_one_that_peft_writes(tmp_path: Path, case: str) -> None:
    """What PEFT would load as zeros, or not at all, is mended on the way."""
    folder = saved(llama(), tmp_path / "a", peft.LoraConfig(r=4, target_modules=QV), safe_serialization=case != "bin")
    before = updates(llama(), folder)
    path = folder / "adapter_model.safetensors"
    if case != "bin":
        tensors = load_file(path)
        if case == "named":
            tensors = {key.replace(".weight", ".default.weight"): tensor for key, tensor in tensors.items()}
        if case == "without a prefix":
            tensors = {key.removeprefix("base_model.model."): tensor for key, tensor in tensors.items()}
        if case == "bfloat16":
            tensors = {key: tensor.bfloat16() for key, tensor in tensors.items()}
        save_file(tensors, path)
    if case == "bfloat16":
        before = updates(llama(), folder)
    out = cut(folder, tmp_path / "b", 4, dtype="F32")
    assert (out / "adapter_model.safetensors").exists()
    assert_best(updates(llama(), out), before, 4)
    written = load_file(out / "adapter_model.safetensors")
    assert all(key.endswith(("lora_A.weight", "lora_B.weight")) for key in written)


def test_peft_says_nothing_about_what_it_loads(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """No unknown field, no missing and no unexpected key."""
    folder = saved(llama(), tmp_path / "a", peft.LoraConfig(r=4, target_modules=QV, task_type="CAUSAL_LM"))
    out = cut(folder, tmp_path / "b", 2, made_by={"gradience.version": "0"})
    recwarn.clear()
    peft.PeftModel.from_pretrained(llama(), out)
    assert [str(one.message) for one in recwarn if "peft" in str(one.filename)] == []


def test_it_agrees_with_pefts_own_conversion(tmp_path: Path) -> None:
    """Where PEFT can do it, with the base model: the same update."""
    folder = saved(llama(), tmp_path / "a", peft.LoraConfig(r=4, target_modules=QV, task_type="CAUSAL_LM"))
    base = llama()
    state = base.state_dict()
    loaded = peft.PeftModel.from_pretrained(base, folder)
    peft.save_as_lora(tmp_path / "theirs", loaded, rank=2)

    def fresh() -> Any:
        model = llama()
        model.load_state_dict({key.replace(".base_layer", ""): value for key, value in state.items()})
        return model

    ours, theirs = updates(fresh(), cut(folder, tmp_path / "b", 2)), updates(fresh(), tmp_path / "theirs")
    for name, update in ours.items():
        assert torch.linalg.norm(update - theirs[name]) <= 1e-5 * torch.linalg.norm(update)


@pytest.mark.parametrize(("dtype", "alpha"), [(torch.float8_e4m3fn, 12), (torch.float16, 4e7)], ids=["8 bits", "large"])
def test_a_bias_takes_the_scale_in_or_is_refused(tmp_path: Path, dtype: torch.dtype, alpha: float) -> None:
    """In a format that holds the product; one that is no number any more is not written."""
    config = peft.LoraConfig(r=4, target_modules=QV, lora_bias=True, lora_alpha=alpha)
    path = saved(llama(), tmp_path / "a", config) / "adapter_model.safetensors"
    before = {key: tensor.to(dtype) for key, tensor in load_file(path).items()}
    save_file(before, path)
    if alpha > 100:
        with pytest.raises(AdapterError, match="not finite in F16; save the adapter again"):
            cut(tmp_path / "a", tmp_path / "b", 4, dtype="F32")
        return
    after = load_file(cut(tmp_path / "a", tmp_path / "b", 4) / "adapter_model.safetensors")
    for key in [key for key in before if key.endswith(".bias")]:
        torch.testing.assert_close(after[key].float(), 3 * before[key].float(), rtol=4e-3, atol=0)
