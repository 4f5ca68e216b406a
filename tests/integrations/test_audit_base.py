"""Adapters that PEFT wrote, set against models that transformers saved."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.audit.record import AuditRecord  # noqa: E402
from tests.integrations import peft_adapters  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's and transformers' own: about tiny configs and each other
LLAMA_TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(autouse=True)
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same random model and factors every time, and a cache of the test's own."""
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", str(tmp_path / "cache"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def llama(**config: Any) -> Any:
    """Two layers of a random Llama."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=64, **config)
    )


def gpt2() -> Any:
    """Two layers of a random GPT-2: Conv1D, and a tied head."""
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=16)
    )


def adapter(model: Any, folder: Path, **options: Any) -> Path:
    """A PEFT adapter of rank 4 with random, not zero, factors."""
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, **options))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    wrapped.unload()
    return folder


def weight(model: Any, name: str) -> torch.Tensor:
    """That of a module of the live model; of a bare parameter, or of one of its experts."""
    path, _, expert = name.partition("[")
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    found = parameters[path] if path in parameters else modules[path].weight
    own: torch.Tensor = (found[int(expert[:-1])] if expert else found).detach().double()
    return own


def assert_true(record: AuditRecord, model: Any) -> None:
    """Every module is measured, and its norms are those of the live model's weight by a dense SVD."""
    row: Any
    assert record.issues == ()
    for row in record.modules:
        dense = torch.linalg.svdvals(weight(model, row.name)).tolist()
        assert row.base_sigma_max == pytest.approx(dense[0], abs=row.base_sigma_error)
        assert row.base_fro_norm == pytest.approx(math.hypot(*dense), rel=1e-6)
        assert row.udr == pytest.approx(row.delta_sigma_max / row.base_sigma_max)
        assert row.udr_f == pytest.approx(row.delta_fro_norm / row.base_fro_norm)
        assert row.sdi == pytest.approx(math.log10(row.udr))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_llama(tmp_path: Path, dtype: torch.dtype) -> None:
    """Linear layers, the embedding and the head, in each dtype that models are saved in."""
    model = llama().to(dtype)
    model.save_pretrained(tmp_path / "base")
    target = adapter(model, tmp_path / "adapter", target_modules=[*LLAMA_TARGETS, "embed_tokens", "lm_head"])
    record = audit(target, base_model=tmp_path / "base")
    assert len(record.modules) == record.summary.n_layers_with_udr == 8
    assert_true(record, model)


def test_shards(tmp_path: Path) -> None:
    """As transformers cuts a model that is larger than one file may be."""
    model = llama()
    model.save_pretrained(tmp_path / "base", max_shard_size="20KB")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 2
    assert_true(audit(adapter(model, tmp_path / "a", target_modules="all-linear"), base_model=tmp_path / "base"), model)


def test_a_bare_model_is_the_base_of_one_with_a_head(tmp_path: Path) -> None:
    """Its keys lack the first part of the modules' paths."""
    model = llama()
    model.model.save_pretrained(tmp_path / "base")
    target = adapter(model, tmp_path / "adapter", target_modules=LLAMA_TARGETS)
    assert_true(audit(target, base_model=tmp_path / "base"), model)


def test_an_adapter_of_a_bare_model(tmp_path: Path) -> None:
    """The other way round: its modules' paths lack the first part of the keys."""
    model = llama()
    model.save_pretrained(tmp_path / "base")
    target = adapter(model.model, tmp_path / "adapter", target_modules=LLAMA_TARGETS)
    assert_true(audit(target, base_model=tmp_path / "base"), model.model)


@pytest.mark.parametrize("is_bare", [False, True])
def test_gpt2(tmp_path: Path, is_bare: bool) -> None:
    """Conv1D stores its weight transposed, and the head has no tensor: it is the embedding."""
    model = gpt2()
    (model.transformer if is_bare else model).save_pretrained(tmp_path / "base")
    target = adapter(model, tmp_path / "adapter", target_modules=["c_attn", "c_proj", "lm_head"])
    assert_true(audit(target, base_model=tmp_path / "base"), model)


def llava() -> Any:
    """A random LLaVA: two towers with layers of the same names, and other paths in its checkpoint than in its code."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            text_config=transformers.LlamaConfig(**sizes, vocab_size=64),
            vision_config=transformers.CLIPVisionConfig(**sizes, image_size=8, patch_size=4),
        )
    )


def qwen2_vl() -> Any:
    """A random Qwen2-VL: its checkpoints call the language model `model`."""
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32}
    return transformers.Qwen2VLForConditionalGeneration(
        transformers.Qwen2VLConfig(text_config=text, vision_config=vision)
    )


def t5() -> Any:
    """A random T5: encoder and decoder share their embedding with the head."""
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64)
    )


@pytest.mark.parametrize(
    ("make", "targets"),
    [
        (llava, ["q_proj", "fc1", "down_proj", "linear_1"]),
        (qwen2_vl, ["q_proj", "qkv", "fc1", "down_proj"]),
        (t5, ["q", "wo", "lm_head"]),
    ],
)
def test_models_of_several_parts(tmp_path: Path, make: Callable[[], Any], targets: list[str]) -> None:
    """Each module's weight is that of its own tower."""
    model = make()
    model.save_pretrained(tmp_path / "base")
    assert_true(audit(adapter(model, tmp_path / "a", target_modules=targets), base_model=tmp_path / "base"), model)


def test_experts(tmp_path: Path) -> None:
    """Each is a slice of a stacked parameter; and a bare parameter is stored under its own path."""
    model = peft_adapters.gpt_oss()
    model.save_pretrained(tmp_path / "base")
    parameters = ["experts.gate_up_proj", "experts.down_proj", "router.weight"]
    target = adapter(model, tmp_path / "a", target_modules=["q_proj"], target_parameters=parameters)
    record = audit(target, base_model=tmp_path / "base")
    assert {row.kind for row in record.modules} == {"linear", "expert", "parameter"}
    assert_true(record, model)


def test_another_model_is_not_mistaken_for_the_base(tmp_path: Path) -> None:
    """Same names, other shapes: the modules are listed, and have no numbers."""
    target = adapter(llama(), tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    other = llama(head_dim=16)
    other.save_pretrained(tmp_path / "base")
    record = audit(target, base_model=tmp_path / "base")
    assert [issue.partition(":")[0] for issue in record.issues] == ["base_unmatched"]
    assert [row.udr is None for row in record.modules] == ["q_proj" in row.name for row in record.modules]
    assert record.by_type["attn"].n_layers_with_udr is None
    assert record.summary.n_layers_with_udr == record.by_type["mlp"].n_layers_with_udr == 2


def test_an_update_of_zero_is_no_dominance(tmp_path: Path) -> None:
    """Its ratio is 0, and that has no logarithm."""
    model = llama()
    model.save_pretrained(tmp_path / "base")
    peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    record = audit(tmp_path / "adapter", base_model=tmp_path / "base")
    assert [(row.udr, row.udr_f, row.sdi) for row in record.modules] == [(0.0, 0.0, None)] * 2
    assert (record.summary.udr_max, record.summary.sdi_mean) == (0.0, None)


def test_a_quantised_base_is_unavailable(tmp_path: Path) -> None:
    """The audit itself is whole; one issue says why nothing is set against the base."""
    model = llama()
    target = adapter(model, tmp_path / "adapter", target_modules=LLAMA_TARGETS)
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "base").mkdir()
    save_file(
        {name: one.to(torch.uint8) for name, one in model.state_dict().items()}, tmp_path / "base/model.safetensors"
    )
    (tmp_path / "base" / "config.json").write_text(model.config.to_json_string())
    record = audit(target, base_model=tmp_path / "base")
    assert [issue.partition(":")[0] for issue in record.issues] == ["base_quantised"]
    assert {row.base_sigma_max for row in record.modules} == {None}
    assert record.summary.udr_max is None


@pytest.mark.parametrize("make", [llama, gpt2])
def test_intruders_are_those_of_the_live_model(tmp_path: Path, make: Any) -> None:
    """In the orientation of the layer, square and stored transposed ones too; only so many modules are searched."""
    model = make()
    model.save_pretrained(tmp_path / "base")
    targets = LLAMA_TARGETS if make is llama else ["c_attn", "c_proj"]
    options = {} if make is llama else {"fan_in_fan_out": True}
    folder = adapter(model, tmp_path / "adapter", target_modules=targets, lora_alpha=64, **options)
    wrapped = peft.PeftModel.from_pretrained(model, folder)
    record = audit(folder, base_model=tmp_path / "base", intruders=3)
    searched = [module for module in record.modules if module.intruders is not None]
    assert len(searched) == 3
    for module in searched:
        layer: Any = wrapped.base_model.model.get_submodule(module.name)
        before, update = (one.detach().double() for one in (layer.base_layer.weight, layer.get_delta_weight("default")))
        before, update = (one.T if make is gpt2 else one for one in (before, update))
        old = torch.linalg.svd(before, full_matrices=False).U
        new = torch.linalg.svd(before + update, full_matrices=False).U[:, :10]
        assert module.intruders == int(((old.T @ new).abs().amax(0) < 0.5).sum())
    assert sum(module.intruders or 0 for module in searched) > 0
