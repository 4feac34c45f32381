"""What members of a population tell each other between cycles. Seeds together is the exchange that does nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, runtime_checkable

from reincarnate.plugins import Registry, settings_check
from reincarnate.training.training import Training, Write

Note = Callable[[str], None]


@runtime_checkable
class Exchange(Protocol):
    """What happens between members, in the loop's own words; it may change their students.

    `begin`: a stretch between two barriers begins, and what no checkpoint tells begins anew, as random streams do.
    `__call__`: a cycle of all members is over. `judged`: all have been evaluated and are about to be saved. `told`:
    numbers for the metrics of a stretch that has ended.
    """

    def begin(self, trainings: Sequence[Training]) -> None: ...
    def __call__(self, trainings: Sequence[Training]) -> None: ...
    def judged(self, trainings: Sequence[Training], writes: Sequence[Write]) -> None: ...
    def told(self, trainings: Sequence[Training]) -> Mapping[str, float]: ...


@runtime_checkable
class ExchangeSettings(Protocol):
    """A frozen dataclass that makes an exchange; `--exchange NAME`.

    `alike`: members begin with the first one's weights. `apart`: each has settings of its own, so that they cannot be
    stacked. `processes`: all share "one", or "each" member has one of its own, or is an actor of "ray".
    """

    alike: ClassVar[bool]
    apart: ClassVar[bool]

    @property
    def processes(self) -> str: ...
    def check(self, members: int) -> None: ...
    def suits(self, student: Any, method: Any) -> None: ...
    def exchange(self, members: int) -> Exchange: ...


class Quiet:
    """Each learns for itself."""

    def begin(self, trainings: Sequence[Training]) -> None:
        """Nothing."""

    def __call__(self, trainings: Sequence[Training]) -> None:
        """Nothing."""

    def judged(self, trainings: Sequence[Training], writes: Sequence[Write]) -> None:
        """Nothing."""

    def told(self, trainings: Sequence[Training]) -> Mapping[str, float]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class Nothing:
    """Members tell each other nothing."""

    alike: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    processes: ClassVar[str] = "one"

    def check(self, members: int) -> None:
        """Whatever there is may be silent."""

    def suits(self, student: Any, method: Any) -> None:
        """Any student and method will do."""

    def exchange(self, members: int) -> Exchange:
        """The one that does nothing."""
        return Quiet()


EXCHANGES = Registry(
    "exchange",
    {
        "none": "reincarnate.training.exchange:Nothing",
        "gossip": "reincarnate.training.gossip:Gossip",
        "pbt": "reincarnate.training.pbt:PBT",
    },
    "reincarnate.exchanges",
    settings_check("alike", "apart", "processes", "check", "suits", "exchange"),
)

# What a Run accepts: any registered exchange.
AnyExchange = Nothing if TYPE_CHECKING else Annotated[Any, EXCHANGES]


def register_exchange(name: str, settings: type) -> None:
    """Add an exchange of your own, by its settings (`ExchangeSettings`). Raises UserError where that cannot be."""
    EXCHANGES.register(name, settings)
