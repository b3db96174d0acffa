"""Data files as people write them, a model's folder, and a hub that is not there."""

import json
from pathlib import Path

import pandas as pd
import pytest


def write(folder: Path, suffix: str, rows: list[dict], name: str = "set") -> Path:
    path = folder / f"{name}.{suffix}"
    if suffix == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif suffix == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if suffix == "jsonl" else f"[{', '.join(lines)}]", encoding="utf-8")
    return path


def model_folder(folder: Path, architecture: str = "llama") -> Path:
    """A random model and its tokenizer, as users keep them."""
    from polinb.models.tiny import tiny_model, tiny_tokenizer

    tiny_model(architecture).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def change(path: Path, drop: tuple[str, ...] = (), **more: object) -> None:
    """Change settings in a JSON file."""
    known = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in known.items() if name not in drop} | more))


def stand_in_hub(
    monkeypatch: pytest.MonkeyPatch, kind: str, files: dict[str, str], cache: Path
) -> list[tuple[str | None, ...]]:
    """Replace the hub by one with these files; what is asked of it: name, configuration and revision."""
    import datasets
    from datasets.load import load_dataset_builder  # not the name that is replaced

    asked: list[tuple[str | None, ...]] = []

    def local(name: str, config: str | None, revision: str | None) -> datasets.DatasetBuilder:
        asked.append((name, config, revision))
        listed = "['small', 'large']"
        if name == "owner/several" and config is None:
            raise ValueError(f"Config name is missing.\nPlease pick one among the available configs: {listed}\nExample")
        if config not in (None, "small", "large"):
            raise ValueError(f"BuilderConfig '{config}' not found. Available: {listed}")
        return load_dataset_builder(kind, data_files=files, cache_dir=str(cache))

    monkeypatch.setattr(datasets, "load_dataset_builder", local)
    return asked
