"""How long a source, such as an arm or a camera, has brought nothing new."""

from __future__ import annotations

OLD = 2.5
"""Age from which a value does not count as new, as a multiple of the limit: a buffer between brings it too late."""


class Silence:
    """The time since a source's newest value, as far as its reader was there to see a newer one.

    A process that a busy machine holds up finds an old value when it goes on, although newer ones only wait to be
    taken. So the time between two looks counts as half the limit at most: the second look in a row has to find nothing
    new before a source counts as silent. Values that are `OLD` times the limit old when they come are no news.

    Args:
        limit: from which the source counts as silent [s].
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._looked: float | None = None
        self._newest: float | None = None
        self.seconds = self.longest = 0.0

    def look(self, now: float, newest: float) -> bool:
        """Look at the source; whether it is silent.

        Args:
            now: time of the look [s].
            newest: time of the source's newest value [s].
        """
        most = self._limit / 2
        passed = 0.0 if self._looked is None else now - self._looked
        is_new = newest != self._newest and not now - newest > OLD * self._limit
        age = max(now - newest, 0.0)  # another clock may be ahead
        self.seconds = min(age, most) if is_new else self.seconds + min(passed, most)
        self._looked, self._newest = now, newest
        self.longest = max(self.longest, self.seconds)
        return not self.seconds <= self._limit
