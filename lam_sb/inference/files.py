"""Files of an exported model, as SpeechBrain fetches and loads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechbrain.utils.fetching import FetchSource
from speechbrain.utils.parameter_transfer import Pretrainer


class FilePretrainer(Pretrainer):
    """SpeechBrain's Pretrainer, for files with names of their own.

    SpeechBrain's looks for ``<name>.ckpt`` in a model's folder or repository,
    as pickles are called.

    Arguments
    ---------
    files : Mapping[str, str]
        File name by loadable.
    **kwargs
        As for `Pretrainer`.
    """

    def __init__(self, files: Mapping[str, str], **kwargs):
        super().__init__(**kwargs)
        self.files = dict(files)

    def collect_files(
        self, default_source: str | Path | FetchSource | None = None, **kwargs
    ) -> dict:
        """Fetch the files; see `Pretrainer.collect_files`."""
        if default_source is not None:
            for name in self.files.keys() - self.paths.keys():
                self.paths[name] = _below(default_source, self.files[name])
        return super().collect_files(default_source, **kwargs)


def _below(source: str | Path | FetchSource, name: str) -> str | FetchSource:
    if isinstance(source, FetchSource):
        return FetchSource(source.FetchFrom, f"{source.path}/{name}")
    return f"{source}/{name}"
