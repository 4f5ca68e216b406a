"""Variants of LoRA and other types, against PEFT: measured by their own formula, or refused in one line."""

from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: E402
from peft.tuners.lora import config as lora_config  # noqa: E402
from peft.tuners.lora.corda import preprocess_corda  # noqa: E402
from peft.tuners.lora.loraga import preprocess_loraga  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from gradience.audit import audit  # noqa: E402
from gradience.errors import AdapterError  # noqa: E402
from tests.integrations.peft_adapters import (  # noqa: E402
    assert_true,
    llama,
    rewritten,
    saved,
    scramble,
    seeded,
    updates,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's and transformers' own

TARGETS = ["q_proj", "v_proj"]
AUDITED = ("LORA", "ADALORA")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with seeded():
        yield


def lora(**options: Any) -> Any:
    """A config of LoRA on two projections."""
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": TARGETS, **options})


def adalora(**options: Any) -> Any:
    """A config of AdaLoRA that begins with rank 5."""
    fields = {"total_step": 10, "tinit": 1, "tfinal": 1, "init_r": 5, "target_r": 2, "target_modules": TARGETS}
    return peft.AdaLoraConfig(**{**fields, **options})


def codes(folder: Path) -> list[str]:
    """The codes of the issues."""
    return [issue.split(":")[0] for issue in audit(folder).issues]


@pytest.mark.parametrize("alpha", [3, 0])
def test_adalora_is_measured_with_its_diagonal(tmp_path: Path, alpha: float) -> None:
    """Over the rank it began with, however few directions are left."""
    folder = saved(llama(), tmp_path, adalora(lora_alpha=alpha, alpha_pattern={"q_proj": 100}))
    record = audit(folder)
    assert_true(record, updates(llama(), folder))
    assert (record.adapter.peft_type, record.adapter.r) == ("ADALORA", 5)


def test_pruned_adalora_is_measured_module_by_module(tmp_path: Path) -> None:
    """PEFT saves what is left: of one module two directions, of another none, of the rest all."""
    wrapped = peft.get_peft_model(llama(), adalora(lora_alpha=3))
    scramble(wrapped)
    wrapped.peft_config["default"].rank_pattern = {
        "model.layers.0.self_attn.q_proj.lora_E": [True, False, False, True, False],
        "model.layers.0.self_attn.v_proj.lora_E": [False] * 5,
    }
    wrapped.save_pretrained(tmp_path)
    record = audit(tmp_path)
    truth = updates(llama(), tmp_path)
    assert not truth.pop("model.layers.0.self_attn.v_proj").any()
    assert_true(record, truth)
    assert [module.r for module in record.modules] == [2, 5, 5]
    assert codes(tmp_path) == ["adalora"]
    left = {"model.layers.0.self_attn.q_proj.lora_E": [True, False, False, False, False]}
    with pytest.raises(AdapterError, match="rank 2, but the config's rank_pattern leaves 1"):
        audit(rewritten(tmp_path, rank_pattern=left))


def test_dora_is_measured_without_its_magnitudes(tmp_path: Path) -> None:
    """B @ A as PEFT has it, and a line that says what that is not."""
    folder = saved(llama(), tmp_path, lora(use_dora=True, target_modules=[*TARGETS, "embed_tokens"]))
    record = audit(folder)
    assert_true(record, updates(llama(), folder))
    assert record.adapter.use_dora
    assert codes(folder) == ["dora"]


@pytest.mark.parametrize("use_dora", [True, False])
def test_dora_in_the_config_or_in_the_keys_alone_is_refused(tmp_path: Path, use_dora: bool) -> None:
    """One of the two files is of another training."""
    saved(llama(), tmp_path, lora(use_dora=use_dora))
    path = tmp_path / "adapter_config.json"
    words = '"use_dora": true', '"use_dora": false'
    path.write_text(path.read_text().replace(*(words if use_dora else reversed(words))))
    with pytest.raises(AdapterError, match="DoRA"):
        audit(tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"velora_config": lora_config.VeloraConfig()}, []),
        ({"monteclora_config": lora_config.MontecloraConfig()}, ["monteclora"]),
        ({"init_lora_weights": "mica"}, []),
    ],
)
def test_variants_of_training_alone_are_measured(tmp_path: Path, options: dict[str, Any], expected: list[str]) -> None:
    """At evaluation their update is B @ A."""
    folder = saved(llama(), tmp_path, lora(**options))
    assert_true(audit(folder), updates(llama(), folder))
    assert codes(folder) == expected


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (lambda: lora(kasa_config=lora_config.KasaConfig()), "KaSA"),
        (lambda: lora(use_bdlora=lora_config.BdLoraConfig(target_modules_bd_a=TARGETS, nblocks=2)), "BD-LoRA"),
        (lambda: lora(use_qalora=True, qalora_group_size=8), "QA-LoRA"),
        (lambda: lora(alora_invocation_tokens=[1, 2], task_type="CAUSAL_LM"), "activated LoRA"),
    ],
)
def test_variants_with_another_update_are_refused_by_config_and_by_keys(tmp_path: Path, config: Any, says: str) -> None:
    """Files of the real library, one line each; a config that claims to be plain LoRA does not help."""
    peft.get_peft_model(llama(), config()).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=says) as caught:
        audit(tmp_path)
    assert "\n" not in str(caught.value)
    if says == "KaSA":  # the others have the very keys of plain LoRA
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}')
        with pytest.raises(AdapterError):
            audit(tmp_path)


@pytest.mark.parametrize("kind", sorted(str(kind.value) for kind in peft.PeftType if kind.value not in AUDITED))
def test_every_other_type_is_refused_by_config_and_by_keys(tmp_path: Path, kind: str) -> None:
    """All that this PEFT knows; a few need a larger model than this one to be made."""
    config = tmp_path / "adapter_config.json"
    try:
        peft.get_peft_model(llama(), _of_type(kind)).save_pretrained(tmp_path)
    except (TypeError, ValueError):
        config.write_text(f'{{"peft_type": "{kind}"}}')
        save_file({"x": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=f"peft_type is '{kind}'"):
        audit(tmp_path)
    config.write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}')
    with pytest.raises(AdapterError, match=r"not LoRA|no lora_A"):
        audit(tmp_path)


@pytest.mark.parametrize("kind", ["LOHA", "VERA", "DELORA", "OFT", "IA3", "HIRA", "SHIRA"])
def test_the_hint_to_convert_is_given_where_peft_can(tmp_path: Path, kind: str) -> None:
    """PEFT says which types it can turn into LoRA."""
    wrapped = peft.get_peft_model(llama(), _of_type(kind))
    wrapped.save_pretrained(tmp_path)
    with pytest.raises(AdapterError) as caught:
        audit(tmp_path)
    assert ("save_as_lora" in str(caught.value)) == wrapped.base_model.supports_lora_conversion()


def _of_type(kind: str) -> Any:
    """A config of this type with what most of them need."""
    make: Any = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
    wanted = {"target_modules": ["q_proj"], "r": 4, "task_type": "CAUSAL_LM", "num_virtual_tokens": 2}
    if kind == "OFT":
        del wanted["r"]  # or the size of its blocks, not both
    return make(**{name: value for name, value in wanted.items() if name in signature(make).parameters})


def _with_covariances(model: Any, config: Any) -> None:
    config.corda_config = lora_config.CordaConfig(corda_method="kpm")
    words = torch.randint(0, 64, (1, 200))
    preprocess_corda(model, config, run_model=lambda: model(words))


def _with_gradients(model: Any, config: Any) -> None:
    config.lora_ga_config = lora_config.LoraGAConfig()
    words = torch.randint(0, 64, (1, 24))
    preprocess_loraga(model, config, lambda: model(words, labels=words).loss.backward())


PREPARED: dict[str, Callable[[Any, Any], None]] = {"corda": _with_covariances, "lora_ga": _with_gradients}


def trained(folder: Path, **options: Any) -> tuple[Path, Path, dict[str, torch.Tensor]]:
    """An adapter whose initialisation changed the base: after training, before it, and the change of each weight."""
    model = llama().float()
    names = [f"model.layers.{layer}.self_attn.{name}" for layer in range(2) for name in TARGETS]
    base = {name: model.get_submodule(name).weight.detach().double().clone() for name in names}
    config = lora(**options)
    PREPARED.get(options["init_lora_weights"], lambda *_: None)(model, config)
    wrapped = peft.get_peft_model(model, config)
    wrapped.save_pretrained(folder / "pissa_init")
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    wrapped.save_pretrained(folder / "checkpoint-7")
    modules = {name: wrapped.base_model.model.get_submodule(name) for name in names}
    after = {
        name: module.base_layer.weight.detach().double() + module.double().get_delta_weight("default").detach()
        for name, module in modules.items()
    }
    return folder / "checkpoint-7", folder / "pissa_init", {name: after[name] - base[name] for name in names}


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga"])
@pytest.mark.parametrize("rslora", [False, True])
def test_a_changed_base_is_accounted_for_with_the_initial_adapter(tmp_path: Path, init: str, rslora: bool) -> None:
    """B @ A - B0 @ A0 is what the weights moved by, of up to twice the rank; found beside it or given."""
    run, before, truth = trained(tmp_path, init_lora_weights=init, use_rslora=rslora)
    record = audit(run, initial=before)
    assert record.modules == audit(run).modules
    assert record.adapter.initial == str(before)
    for module in record.modules:
        values = torch.linalg.svdvals(truth[module.name])[: module.r].tolist()
        assert module.r == 8
        assert module.singular_values == pytest.approx(values, rel=1e-4, abs=3e-6)  # the base was cut in float32
    assert codes(run) == ["initial"]


def test_pefts_own_conversion_gives_the_same_spectrum(tmp_path: Path) -> None:
    """`path_initial_model_for_weight_conversion` writes [A; A0] and [B, -B0] at twice the rank and alpha."""
    wrapped = peft.get_peft_model(llama(), lora(init_lora_weights="pissa"))
    wrapped.peft_config["default"].init_lora_weights = True
    wrapped.save_pretrained(tmp_path / "init")
    wrapped.peft_config["default"].init_lora_weights = "pissa"
    scramble(wrapped)
    wrapped.save_pretrained(tmp_path / "raw")
    wrapped.save_pretrained(tmp_path / "converted", path_initial_model_for_weight_conversion=str(tmp_path / "init"))
    raw, converted = audit(tmp_path / "raw", initial=tmp_path / "init"), audit(tmp_path / "converted")
    for one, other in zip(raw.modules, converted.modules, strict=True):
        assert one.singular_values == pytest.approx(other.singular_values, rel=1e-12)
        assert (one.r, one.scale) == (other.r, other.scale)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_without_the_initial_adapter_a_changed_base_is_refused(tmp_path: Path, init: str) -> None:
    """One line that says both ways out."""
    peft.get_peft_model(llama(), lora(init_lora_weights=init)).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"--initial DIR.*path_initial_model_for_weight_conversion"):
        audit(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"r": 2}, "another rank, scale or shape"),
        ({"lora_alpha": 1}, "another rank, scale or shape"),
        ({"target_modules": ["q_proj"]}, "other modules"),
    ],
)
def test_the_initial_adapter_of_another_training_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    """Its difference would mean nothing."""
    saved(llama(), tmp_path / "run", lora(init_lora_weights="pissa"))
    saved(llama(), tmp_path / "other", lora(**options))
    with pytest.raises(AdapterError, match=says):
        audit(tmp_path / "run", initial=tmp_path / "other")
