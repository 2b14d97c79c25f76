"""What goes wrong on purpose: faults that the ECR-shaped door meets its callers with."""

import re
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One fault, for calls whose name matches `on`: `skip` pass, the next `times` do not.

    on: a pattern for `PUT /v2/name/manifests/tag` or `POST ecr/DescribeImages`.
    status: answer this instead; None lets the call through. drop: hang up, saying nothing.
    delay_s: wait first. code, message: what the answer's error says.
    """

    on: str
    status: int | None = None
    skip: int = 0
    times: int = 1
    drop: bool = False
    delay_s: float = 0.0
    code: str = "InternalFailure"
    message: str = "a fault, injected"
    met: int = 0


@dataclass
class Faults:
    """All faults that wait for a call, and the calls there were."""

    _waiting: list[Fault] = field(default_factory=list)
    _calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cleared: threading.Event = field(default_factory=threading.Event)

    def inject(self, on: str, **what: object) -> Fault:
        """Add the `Fault` that the arguments describe."""
        fault = Fault(on, **what)  # type: ignore[arg-type]  # the dataclass names what may be given
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """From now on nothing goes wrong, and who waits need not any longer."""
        with self._lock:
            self._waiting.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def wait(self, fault: Fault) -> None:
        """The delay of `fault`, cut short by `clear`."""
        with self._lock:
            cleared = self._cleared
        cleared.wait(fault.delay_s)

    def meet(self, call: str) -> Fault | None:
        """The fault that `call` meets; None when none is left for it."""
        with self._lock:
            self._calls.append(call)
            for fault in self._waiting:
                if not re.search(fault.on, call):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                elif fault.met < fault.times:
                    fault.met += 1
                    return fault
        return None

    def calls(self, on: str = "") -> list[str]:
        """The calls so far whose name matches `on`, oldest first."""
        with self._lock:
            return [call for call in self._calls if re.search(on, call)]
