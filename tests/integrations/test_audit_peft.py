"""The audit against PEFT itself: adapters that PEFT wrote, and the update that PEFT computes after reloading them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.audit.record import AuditRecord  # noqa: E402
from gradience.errors import AdapterError  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # PEFT's and transformers' own: about odd configurations and each other
SEED = 0
LLAMA_TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same random model and factors every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


def llama() -> Any:
    """Two layers of a random Llama."""
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    return transformers.LlamaForCausalLM(config)


def gpt2() -> Any:
    """Two layers of a random GPT-2, whose linear layers are Conv1D."""
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=16)
    return transformers.GPT2LMHeadModel(config)


def t5() -> Any:
    """A random T5 of two blocks."""
    config = transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64)
    return transformers.T5ForConditionalGeneration(config)


def saved(model: Any, folder: Path, **options: Any) -> Path:
    """A PEFT adapter with random, not zero, B; saved as PEFT saves it."""
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_B." in name or ".lora_embedding_" in name:
                parameter.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    return folder


def reloaded(model: Any, folder: Path) -> dict[str, torch.Tensor]:
    """The update of every adapted layer, as PEFT gives it after loading the adapter into a new base."""
    wrapped = peft.PeftModel.from_pretrained(model, folder)
    modules = {
        name.removeprefix("base_model.model."): module
        for name, module in wrapped.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    return {name: module.get_delta_weight("default").detach().double() for name, module in modules.items()}


def assert_true(record: AuditRecord, updates: dict[str, torch.Tensor]) -> None:
    """Every module is there, and its spectrum is that of PEFT's float32 product."""
    assert {module.name for module in record.modules} == updates.keys()
    for module in record.modules:
        truth = torch.linalg.svdvals(updates[module.name])[: module.r].tolist()
        truth += [0.0] * (module.r - len(truth))
        assert module.singular_values == pytest.approx(truth, rel=1e-4, abs=1e-5 * truth[0])
        assert module.delta_fro_norm == pytest.approx(float(updates[module.name].norm()), rel=1e-5)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (llama, {"r": 8, "lora_alpha": 16, "target_modules": LLAMA_TARGETS}),
    "all-linear": (llama, {"r": 4, "target_modules": "all-linear"}),
    "regex": (llama, {"r": 4, "target_modules": r".*\.1\..*(q|up)_proj"}),
    "rslora": (llama, {"r": 8, "lora_alpha": 16, "use_rslora": True, "target_modules": LLAMA_TARGETS}),
    "patterns": (
        llama,
        {
            "r": 8,
            "lora_alpha": 16,
            "target_modules": LLAMA_TARGETS,
            "rank_pattern": {"down_proj": 4, r"layers\.1\.self_attn\.q_proj": 2},
            "alpha_pattern": {r".*layers\.1.*\.v_proj": 1, "down_proj": 400},
        },
    ),
    "overlapping patterns": (
        llama,
        {"r": 8, "target_modules": ["q_proj"], "alpha_pattern": {"q_proj": 32, "layers.0.self_attn.q_proj": 2}},
    ),
    "patterns and rslora": (
        llama,
        {"r": 8, "use_rslora": True, "target_modules": ["q_proj"], "rank_pattern": {"0.self_attn.q_proj": 3}},
    ),
    "fractional and negative alpha": (
        llama,
        {"r": 4, "lora_alpha": 0.5, "target_modules": ["q_proj", "v_proj"], "alpha_pattern": {"v_proj": -2}},
    ),
    "rank above width": (llama, {"r": 40, "target_modules": ["q_proj"]}),
    "some layers": (llama, {"r": 4, "target_modules": ["q_proj"], "layers_to_transform": [1]}),
    "lm_head": (llama, {"r": 4, "target_modules": ["lm_head"]}),
    "embedding": (llama, {"r": 4, "target_modules": ["embed_tokens", "q_proj"]}),
    "orthogonal": (llama, {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": "orthogonal"}),
    "random start": (llama, {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False}),
    "lora_bias": (llama, {"r": 4, "target_modules": ["q_proj"], "lora_bias": True}),
    "modules_to_save": (llama, {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "Conv1D": (gpt2, {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "bias": "all"}),
    "T5": (t5, {"r": 4, "target_modules": ["q", "v", "wo"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_spectrum_is_that_of_pefts_own_update(tmp_path: Path, case: str) -> None:
    """Names, ranks, scales and orientation are PEFT's, for every way to configure plain LoRA."""
    make, options = CASES[case]
    folder = saved(make(), tmp_path, **options)
    assert_true(audit(folder), reloaded(make(), folder))


@pytest.mark.parametrize(
    ("case", "codes"),
    [
        ("plain", []),
        ("overlapping patterns", ["pattern_overlap"]),
        ("lora_bias", ["lora_bias"]),
        ("modules_to_save", ["modules_to_save"]),
        ("Conv1D", ["modules_to_save", "bias"]),
        ("lm_head", []),
        ("embedding", []),
        ("random start", ["random_start"]),
    ],
)
def test_what_the_factors_leave_out_is_an_issue(tmp_path: Path, case: str, codes: list[str]) -> None:
    """In files that PEFT wrote."""
    make, options = CASES[case]
    assert [issue.split(":")[0] for issue in audit(saved(make(), tmp_path, **options)).issues] == codes


def test_a_fresh_adapter_is_untrained(tmp_path: Path) -> None:
    """PEFT starts with B = 0."""
    peft.get_peft_model(llama(), peft.LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path)
    record = audit(tmp_path)
    assert record.issues[0].startswith("untrained:")
    assert record.summary.stable_rank_mean == 0


def test_a_bin_file_and_bfloat16_are_read(tmp_path: Path) -> None:
    """`safe_serialization=False`, and factors kept in the base's dtype."""
    model = llama().to(torch.bfloat16)
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    wrapped.save_pretrained(tmp_path, safe_serialization=False)
    record = audit(tmp_path)
    assert record.adapter.dtype == "BF16"
    assert record.adapter.adapter_weights_path.endswith("adapter_model.bin")
    layer = wrapped.base_model.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    truth = torch.linalg.svdvals(2 * b @ a)[:4].tolist()
    assert record.modules[0].singular_values == pytest.approx(truth, rel=1e-9)


def test_a_state_dict_with_the_adapters_name_is_read(tmp_path: Path) -> None:
    """`torch.save(model.state_dict())` keeps the name in every key, and full tensors beside the factors."""
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(llama(), config)
    wrapped.save_pretrained(tmp_path)
    plain = audit(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    factors = {key: value for key, value in wrapped.state_dict().items() if ".lora_" in key}
    torch.save(factors, tmp_path / "adapter_model.bin")
    named = audit(tmp_path)
    assert [module.singular_values for module in named.modules] == [module.singular_values for module in plain.modules]
    assert "adapter_name" in [issue.split(":")[0] for issue in named.issues]


def test_another_adapter_in_a_sub_directory_is_named(tmp_path: Path) -> None:
    """PEFT saves the second adapter below the first."""
    config = peft.LoraConfig(r=4, target_modules=["q_proj"])
    wrapped = peft.get_peft_model(llama(), config)
    wrapped.add_adapter("second", config)
    wrapped.save_pretrained(tmp_path)
    assert any(issue.startswith("other_adapters:") and "second" in issue for issue in audit(tmp_path).issues)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (lambda: peft.LoraConfig(r=4, target_modules=["q_proj"], use_dora=True), "DoRA"),
        (lambda: peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa"), "path_initial_model"),
        (lambda: peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="olora"), "path_initial_model"),
        (lambda: peft.AdaLoraConfig(total_step=10, tinit=1, tfinal=1, target_modules=["q_proj"]), "ADALORA"),
        (lambda: peft.LoHaConfig(r=4, target_modules=["q_proj"]), "LOHA.*save_as_lora"),
        (lambda: peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]), "IA3"),
        (lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), "PROMPT_TUNING"),
    ],
)  # fmt: skip
def test_what_is_not_plain_lora_is_refused(tmp_path: Path, config: Any, says: str) -> None:
    """Files of the real library, one line each."""
    peft.get_peft_model(llama(), config()).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=says) as caught:
        audit(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "says"),
    [(torch.nn.Conv2d(4, 8, 3), "convolution"), (torch.nn.MultiheadAttention(8, 2), "MultiheadAttention")],
)
def test_other_layers_are_refused_by_name(tmp_path: Path, layer: torch.nn.Module, says: str) -> None:
    """Convolutions and fused attention have factors that are not those of a linear layer."""
    model = torch.nn.ModuleDict({"layer": layer})
    peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["layer"])).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=says):
        audit(tmp_path)


def test_experts_are_refused_by_name(tmp_path: Path) -> None:
    """Factors of stacked expert parameters, whatever the config is made to say."""
    config = transformers.MixtralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=64, num_local_experts=4,
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config)
    names = [name for name, value in model.named_parameters() if "experts" in name and value.ndim == 3]
    options = peft.LoraConfig(r=2, target_modules=[], target_parameters=names)
    peft.get_peft_model(model, options).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="target_parameters"):
        audit(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text().replace('"target_parameters"', '"hidden"'))
    with pytest.raises(AdapterError, match="expert"):
        audit(tmp_path)
