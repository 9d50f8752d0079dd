"""Plain networks by name: torchvision's resnet18, and a class of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18 as torchvisions

from metabench.vision.models.plain import own, resnet18

NETS = """
import torch
from torch import nn

class Net(nn.Linear):
    def __init__(self, size, width, channels=1, bias=True):
        super().__init__(size * size * channels, width, bias)

class Fixed(nn.Flatten):
    pass

class Deep(nn.Module):
    def __init__(self, channels, depth, *rest, **more):
        super().__init__()

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise OSError(2, "no such file", "weights.pt")

def made(channels):
    raise SystemExit("called")

number = 3
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text(NETS)
    (tmp_path / "my_broken.py").write_text("import no_such_package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_nets", "my_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_class_is_called_with_what_it_asks_for() -> None:
    net = own("module:my_nets.Net", channels=3, size=4, width=7)
    assert (net.in_features, net.out_features) == (48, 7)
    assert type(own("module:my_nets.Fixed", 1, 8, 16)).__name__ == "Fixed"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("my_nets.Deep", "its constructor asks for 'depth'; it may ask for channels, size, width"),
        ("my_nets.Broken", r"Broken\(\) fails: FileNotFoundError\(2, 'no such file'\)"),
        ("my_nets.Nit", "module:my_nets.Nit: my_nets has no Nit; did you mean Net"),
        ("my_nets.made", "it is no class derived from torch.nn.Module"),
        ("my_nets.number", "it is no class derived from torch.nn.Module"),
        ("my_broken.Net", "module:my_broken.Net: importing my_broken fails: No module named 'no_such_package'"),
    ],
)
def test_another_path_is_refused_in_one_line(path: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        own(f"module:{path}", 1, 8, 4)
    assert "\n" not in str(caught.value)


def test_resnet18_is_torchvisions_without_its_classifier() -> None:
    """Also in where its weights start: with three channels they are the same draws."""
    images = torch.rand(2, 3, 32, 32)
    torch.manual_seed(0)
    ours = resnet18(3).eval()
    torch.manual_seed(0)
    whole = torchvisions().eval()
    with torch.no_grad():
        torch.testing.assert_close(whole.fc(ours(images)), whole(images))
        assert resnet18(1).eval()(images[:, :1]).shape == (2, 512)
