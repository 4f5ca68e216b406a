"""A tiny training with Lightning and PEFT, recorded by one line."""

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import peft
import torch
from gradience_lightning import GradienceCallback

from tests.integrations.peft_adapters import llama


class Module(pl.LightningModule):
    """Logs under the names that most modules use, or nothing; may be left before its end."""

    def __init__(self, how: str, note: str = "tiny") -> None:  # noqa: ARG002 - a hyperparameter
        super().__init__()
        self.save_hyperparameters()
        lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        self.model = peft.get_peft_model(llama(), lora)
        self.how = how

    def training_step(self, batch: Any) -> Any:
        """The loss; or an end, at step 5."""
        if self.global_step == 5 and self.how == "error":
            raise RuntimeError("no more")
        if self.global_step == 5 and self.how == "interrupt":
            raise KeyboardInterrupt
        if self.global_step == 5 and self.how == "kill":
            os.kill(os.getpid(), 9)
        loss = self.model(batch, labels=batch).loss
        if self.how != "silent":
            self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, _index: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002 - it is wanted
        """Of each of two sets."""
        self.log("val_loss", self.model(batch, labels=batch).loss)

    def test_step(self, *_: Any) -> None:
        """Under another separator."""
        self.log("test/acc", 0.5)

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-4)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.LinearLR(optimizer), "interval": "step"}]


def train(folder: str | Path, how: str, *loggers: str, **options: Any) -> Path:
    """Train 8 steps in a folder, or go on from step 4; the journal."""
    out = Path(folder)
    torch.manual_seed(0)
    data: Any = torch.utils.data.DataLoader(list(torch.randint(0, 16, (8, 4))), batch_size=2)  # type: ignore[arg-type]
    trainer = pl.Trainer(
        max_steps=8,
        log_every_n_steps=1,
        val_check_interval=4,
        accelerator="cpu",
        default_root_dir=out,
        logger=[_logger(name, out) for name in loggers] or False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            GradienceCallback(**options),
            pl.callbacks.ModelCheckpoint(out / "saved", every_n_train_steps=4, save_top_k=-1, filename="{step}"),
            *([pl.callbacks.LearningRateMonitor()] if loggers else []),
        ],
    )
    trainer.fit(Module(how), data, [data, data], ckpt_path=out / "saved" / "step=4.ckpt" if how == "resume" else None)
    if how == "test":
        trainer.test(dataloaders=data, verbose=False)
    assert trainer.loggers == [] or loggers
    return out / "run.jsonl"


def _logger(name: str, out: Path) -> Any:
    if name == "mlflow":
        return pl.loggers.MLFlowLogger(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    return pl.loggers.WandbLogger(offline=True) if name == "wandb" else pl.loggers.CSVLogger(str(out))
