"""The audit of files that diffusers itself writes, against the update that the reloaded pipeline computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # diffusers' and PEFT's own, about each other
]
LOADER = diffusers.loaders.StableDiffusionLoraLoaderMixin


def unet() -> Any:
    """A U-Net of two small blocks, one of them with attention."""
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=4,
        attention_head_dim=4,
    )


def text_encoder() -> Any:
    """Two layers of a random CLIP."""
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=64
        )
    )


def adapted(model: Any, **settings: Any) -> Any:
    """The model with a random adapter that is not zero."""
    return peft.inject_adapter_in_model(peft.LoraConfig(init_lora_weights=False, **settings), model)


def saved(folder: Path, denoiser: Any, encoder: Any, *, with_settings: bool) -> Path:
    """What diffusers' training scripts leave."""
    state = {
        "unet_lora_layers": peft.get_peft_model_state_dict(denoiser),
        "text_encoder_lora_layers": peft.get_peft_model_state_dict(encoder),
    }
    said = {
        "unet_lora_adapter_metadata": denoiser.peft_config["default"].to_dict(),
        "text_encoder_lora_adapter_metadata": encoder.peft_config["default"].to_dict(),
    }
    LOADER.save_lora_weights(folder, **state, **(said if with_settings else {}))
    return folder


def updates(prefix: str, model: Any, *, scaled: bool = True) -> dict[str, torch.Tensor]:
    """PEFT's own update of each module, or what is left of it without its scale."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)}
    return {
        f"{prefix}.{name}": module.get_delta_weight("default").detach().double().flatten(1)
        / (1 if scaled else module.scaling["default"])
        for name, module in layers.items()
    }


@pytest.mark.parametrize("with_settings", [True, False])
def test_every_component_has_the_update_of_the_reloaded_pipeline(tmp_path: Path, with_settings: bool) -> None:
    """Linear layers and convolutions; settings with patterns, or none at all."""
    torch.manual_seed(0)
    denoiser = adapted(
        unet(),
        r=4,
        lora_alpha=2,
        target_modules=["to_q", "to_out.0", "conv1", "ff.net.0.proj"],
        rank_pattern={"conv1": 3},
        alpha_pattern={"to_q": 6},
    )
    encoder = adapted(text_encoder(), r=2, lora_alpha=4, use_rslora=True, target_modules=["q_proj"])
    folder = saved(tmp_path, denoiser, encoder, with_settings=with_settings)
    record = audit(folder)

    state, alphas, metadata = LOADER.lora_state_dict(str(folder), return_lora_metadata=True)
    fresh = unet()
    LOADER.load_lora_into_unet(state, alphas, fresh, metadata=metadata, adapter_name="default")
    # The text encoder is reloaded by transformers, which asks for a later PEFT: its update is that of before.
    expected = updates("unet", fresh) | updates("text_encoder", encoder, scaled=with_settings)
    assert {module.name for module in record.modules} == expected.keys()
    for module in record.modules:
        sigma = torch.linalg.svdvals(expected[module.name])[: module.r].tolist()
        assert module.singular_values[: len(sigma)] == pytest.approx(sigma, rel=1e-5, abs=1e-6 * sigma[0])
    codes = [issue.partition(":")[0] for issue in record.issues]
    assert codes == ["conv"] if with_settings else ["no_alpha", "conv"]


def test_a_kohya_file_has_the_update_that_diffusers_loads(tmp_path: Path) -> None:
    """Names, factors and alpha of kohya's, read by another tool than ours."""
    attention = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0"
    tensors = {}
    for place, (name, shape) in enumerate(
        {"attn1_to_q": (16, 16), "attn2_to_k": (16, 8), "ff_net_2": (16, 64)}.items()
    ):
        generator = torch.Generator().manual_seed(place)
        tensors[f"{attention}_{name}.lora_down.weight"] = torch.randn(4, shape[1], generator=generator)
        tensors[f"{attention}_{name}.lora_up.weight"] = torch.randn(shape[0], 4, generator=generator)
        tensors[f"{attention}_{name}.alpha"] = torch.tensor(2.0)  # of several, diffusers 0.42 takes one for all
    save_file(tensors, tmp_path / "style.safetensors")
    record = audit(tmp_path)

    state, alphas, metadata = LOADER.lora_state_dict(
        str(tmp_path), weight_name="style.safetensors", return_lora_metadata=True
    )
    fresh = unet()
    LOADER.load_lora_into_unet(state, alphas, fresh, metadata=metadata, adapter_name="default")
    expected = updates("unet", fresh)
    assert {module.name for module in record.modules} == expected.keys()
    for module in record.modules:
        sigma = torch.linalg.svdvals(expected[module.name])[: module.r].tolist()
        assert module.singular_values == pytest.approx(sigma, rel=1e-5)
