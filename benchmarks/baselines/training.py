"""The plain protocol, as tutorials show it: ImageFolder, DataLoader, fp32, channels first, decoding in every epoch.

Command  python benchmarks/baselines/training.py FOLDER --epochs 10   (FOLDER has train/ and val/)
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

SIZE, BATCH, RATE = 224, 32, 0.001  # as in params.yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    transform = v2.Compose(
        [
            v2.Resize((SIZE, SIZE)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    train, test = (ImageFolder(args.folder / name, transform) for name in ("train", "val"))
    batches = DataLoader(train, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    test_batches = DataLoader(test, BATCH, num_workers=2, persistent_workers=True)
    torch.manual_seed(0)
    model = models.resnet50(num_classes=len(train.classes)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for epoch in range(args.epochs):
        model.train()
        for images, targets in batches:
            loss = nn.functional.cross_entropy(model(images.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        print(epoch + 1, measure_accuracy(model, test_batches, device), flush=True)
    torch.save(model.state_dict(), args.folder / "model.pth")


@torch.inference_mode()
def measure_accuracy(model: nn.Module, batches: "DataLoader[tuple[torch.Tensor, int]]", device: torch.device) -> float:
    model.eval()
    correct = [(model(images.to(device)).argmax(dim=1) == targets.to(device)).float() for images, targets in batches]
    return float(torch.cat(correct).mean())


if __name__ == "__main__":
    main()
