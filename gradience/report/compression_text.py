"""A compression for the terminal: what became of the adapter, how far the new one is from it, and how to test it."""

from collections.abc import Sequence

from gradience.audit.compression.record import Compression, Part
from gradience.policy import serving
from gradience.report.layout import block, heading, labelled, table
from gradience.report.numbers import count, megabytes
from gradience.report.plain import plain


def render(found: Compression, sizes: tuple[int, int]) -> str:
    """The whole result; `sizes` are those of the weights files before and after, in bytes."""
    source, whole = found.source, found.whole
    rows = {
        "adapter": f"{source.kind} r={source.r}, {len(found.cuts)} modules  {source.peft_dir}",
        "written": f"r={found.rank} alpha={found.rank}{'' if found.is_uniform else ' and below'}  {found.out}",
        "energy kept": f"{whole.energy_kept:.2%} (relative error of the update {whole.relative_error:.3g})",
        "parameters": f"{count(whole.params)} -> {count(whole.params_left)}",
        "file": f"{megabytes(sizes[0])} MB -> {megabytes(sizes[1])} MB",
        "served": _served(found),
        "copied": ", ".join(found.copied),
        "not copied": ", ".join(found.left_behind),
    }
    lines = [f"{heading('Compressed')} {plain(source.peft_dir)}", ""]
    for label, text in rows.items():
        lines += labelled(label, text, width=13) if text else []
    return "\n".join([*lines, *_table(found.by_type), *_next(found)])


def _table(parts: Sequence[Part]) -> list[str]:
    rows = [
        [
            part.name, str(part.modules), count(part.params), count(part.params_left), f"{part.energy_kept:.2%}",
            f"{part.relative_error:.3g}", f"{part.worst_error:.3g}", part.worst_module,
        ]
        for part in parts
    ]  # fmt: skip
    header = ("type", "modules", "params", "left", "energy", "error", "worst", "of")
    return block("By module type", table(header, rows))


def _served(found: Compression) -> str:
    before, after = serving.slot(found.source.r), serving.slot(found.rank)
    if before is None or after is None:
        return ""
    saved = f"max_lora_rank {before} -> {after} in vLLM" if after < before else f"still max_lora_rank {after} in vLLM"
    if found.is_uniform:
        return f"{saved}; one rank and alpha = r, as PEFT, vLLM and llama.cpp read alike"
    return f"{saved}; the ranks differ, which llama.cpp scales otherwise and PEFT's hot swap refuses"


def _next(found: Compression) -> list[str]:
    command = f'gradience verify --original {found.source.peft_dir} --compressed {found.out} --command "..."'
    shown = "Energy is blind to the data: only an evaluation tells whether quality is kept."
    return block("Next", [f"  {plain(command)}", *labelled("", shown, width=0)])
