"""The data sets that there are: those of the package, and those that the user imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

from metabench.vision.data.imported import Imported, imported_names
from metabench.vision.data.source import DataError, Source, data_root


class Registry(MutableMapping[str, Source]):
    """Name -> source: first the registered ones, then what was imported into the data root.

    Args:
        sources: those that are registered.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self.registered = {source.name: source for source in sources}

    def __getitem__(self, name: str) -> Source:
        if name in self.registered:
            return self.registered[name]
        if name not in self._imported():
            raise KeyError(name)
        return Imported(name, data_root())

    def __setitem__(self, name: str, source: Source) -> None:
        self.registered[name] = source

    def __delitem__(self, name: str) -> None:
        del self.registered[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.registered
        yield from (name for name in self._imported() if name not in self.registered)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _imported(self) -> list[str]:
        try:
            return imported_names(data_root())
        except DataError:  # no data root: what needs one says so
            return []
