import json
from pathlib import Path
from typing import Any

import pytest

from gradience.evaluation import documents, harness, metric, outputs

RESULT: dict[str, Any] = {  # as release 0.4.13 writes it, without what no comparison needs
    "results": {
        "arc_easy": {
            "name": "arc_easy",
            "alias": "arc_easy",
            "sample_len": 4,
            "acc,none": 0.75,
            "acc_stderr,none": 0.25,
            "acc_norm,none": 0.5,
            "acc_norm_stderr,none": 0.2886751345948129,
        },
        "wikitext": {"alias": "wikitext", "word_perplexity,none": 12.5, "word_perplexity_stderr,none": "N/A"},
        "gsm8k": {"exact_match,strict-match": 0.5, "exact_match,flexible-extract": 0.6},
    },
    "group_subtasks": {},
    "configs": {"arc_easy": {"task": "arc_easy"}},
    "higher_is_better": {"arc_easy": {"acc": True, "acc_norm": True}, "wikitext": {"word_perplexity": False}},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 4}},
    "config": {"model": "hf", "model_args": "pretrained=x,peft=y", "batch_size": 8},
    "date": 1764000000.0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `lm_eval --output_path FOLDER --log_samples` leaves."""
    place = tmp_path / "org__model"
    place.mkdir()
    (place / "results_2026-01-01T10-00-00.000001.json").write_text(json.dumps(RESULT))
    answers = [{"doc_id": i, "filter": "none", "acc": float(i != 2), "acc_norm": 1.0} for i in (2, 0, 1, 3)]
    text = "".join(json.dumps(line) + "\n" for line in answers)
    (place / "samples_arc_easy_2026-01-01T10-00-00.000001.jsonl").write_text(text)
    return tmp_path


def test_results_are_recognised() -> None:
    """By the shape of their tasks, wherever they come from."""
    assert harness.is_result(RESULT)
    assert not harness.is_result({"results": {"accuracy": 0.5}})
    assert not harness.is_result({"results": [1]})


def test_metrics_have_error_count_and_direction() -> None:
    """As the harness tells them; N/A is none."""
    found = documents.measures(RESULT)
    one, other = found["arc_easy/acc,none"], found["wikitext/word_perplexity,none"]
    assert (one.value, one.stderr, one.n, one.higher_is_better) == (0.75, 0.25, 4, True)
    assert (other.value, other.stderr, other.n, other.higher_is_better) == (12.5, None, None, False)
    assert not any("stderr" in name or "alias" in name for name in found)


def test_single_answers_are_read_where_they_make_up_the_metric(folder: Path) -> None:
    """In the order of the documents; those of acc_norm here are others' and are left out."""
    found = outputs.written(folder)
    assert found["arc_easy/acc,none"].examples == (1.0, 1.0, 0.0, 1.0)
    assert found["arc_easy/acc_norm,none"].examples is None


def test_results_come_before_other_files_with_numbers(folder: Path, tmp_path: Path) -> None:
    """Whatever was written later; configurations and tokenizers are no results at all."""
    (folder / "times.json").write_text('{"seconds": 512}')
    assert "arc_easy/acc,none" in outputs.written(folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    assert outputs.written(other) == {}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("arc_easy/acc", "arc_easy/acc,none"),
        ("acc", "arc_easy/acc,none"),
        ("acc_norm,none", "arc_easy/acc_norm,none"),
        ("gsm8k/exact_match,strict-match", "gsm8k/exact_match,strict-match"),
        ("word_perplexity", "wikitext/word_perplexity,none"),
        (None, "arc_easy/acc,none"),
    ],
)
def test_a_metric_is_named_as_people_call_it(asked: str | None, name: str) -> None:
    """The task and the filter may be left out where only one has it."""
    assert metric.choose(documents.measures(RESULT), asked) == name
