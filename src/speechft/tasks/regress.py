"""regress: the numbers of any column, such as valence or a mean opinion score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, ClassVar, Self

from speechft.core.errors import DataError
from speechft.core.registry import deferred
from speechft.data.table_columns import finite_number
from speechft.metrics.measures import concordance, mean_squared_error
from speechft.tasks.base import TASKS, ProtocolName, Purpose, Size, non_empty
from speechft.tasks.column_task import ColumnTask
from speechft.tasks.probe_plan import GRID, Plan

if TYPE_CHECKING:
    import torch
    from lhotse.cut import Cut
    from torch import Tensor, nn
    from torch.nn import functional
else:
    torch, functional = deferred("torch"), deferred("torch.nn.functional")


@TASKS.on_columns.register("regress")
class Regression(ColumnTask):
    """The number in the column COLUMN, by a linear head on time means and the squared error.

    The head learns numbers of mean 0 and deviation 1, and its answers are brought back.

    Args:
        scale: mean and deviation of the training split.
        protocol: "clean" or "s3prl".
    """

    id: ClassVar[str] = "regress"
    title: ClassVar[str] = "regression"
    pooled: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("ccc", "mse")
    target_is_sequence: ClassVar[bool] = False
    wants: ClassVar[str] = "finite number"
    fixed: ClassVar[tuple[str, type]] = ("scale", list)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), decay=True),
        "superb": Plan(30_000, 32, GRID),
    }

    def __init__(self, scale: Sequence[float], protocol: ProtocolName = "clean") -> None:
        self.scale, self.protocol = [float(one) for one in scale], protocol

    @classmethod
    def read(cls, value: Any) -> float:
        """Give the number.

        Raises:
            ValueError: it is none, or not finite.
        """
        number = finite_number(value)
        if number is None:
            raise ValueError(f"{value!r:.60}")
        return number

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Find mean and deviation of the training split."""
        numbers = [cls.value(cut) for cut in non_empty(train, cls.id)]
        if len(set(numbers)) < 2:
            raise DataError(
                f"the task {cls.id!r} needs at least two numbers in the training split",
                found=f"{numbers[0]:g} everywhere",
            )
        return cls([fmean(numbers), pstdev(numbers)], protocol)

    @property
    def output_size(self) -> int:
        """One number."""
        return 1

    def target(self, cut: Cut) -> Tensor:
        """Give the number, scaled (1,)."""
        mean, deviation = self.scale
        return torch.tensor([(self.value(cut) - mean) / deviation])

    def reference(self, cut: Cut) -> float:
        """Give the number of a cut."""
        return float(self.value(cut))

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:  # noqa: ARG002
        """Build SUPERB's utterance-level linear head, for both purposes and sizes."""
        from speechft.heads.linear import PooledLinear

        return PooledLinear(input_dim, self.output_size, projection=256)

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """Give the mean squared error of the scaled numbers."""
        return functional.mse_loss(logits.float(), torch.stack(list(targets)).to(logits.device))

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:  # noqa: ARG002
        """Give the numbers."""
        mean, deviation = self.scale
        return [mean + deviation * number for number in logits[:, 0].float().tolist()]

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give CCC in percent, and the mean squared error in the column's own units."""
        both = references, predictions
        return {"ccc": concordance(*both), "mse": mean_squared_error(*both)}
