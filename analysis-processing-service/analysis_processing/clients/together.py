"""Several pieces of work at once that end together."""

from collections.abc import Awaitable, Callable, Iterable

import anyio


async def together(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """All of them are done; the first error stops the others and is raised, alone."""
    errors: list[Exception] = []

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as exc:  # noqa: BLE001  raised below, without a group around it
            errors.append(exc)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(one, work)
    if errors:
        raise errors[0]
